package builtin

import (
	"os"
	"strings"
	"testing"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/modtest"
)

const pegasusTemplate = `; Pegasus
[core]
data_dir = %{app.dir}

[meta_server]
server_list = %{meta.server.list}

[replication]
cluster_name = %{cluster.name}
slog_dir = %{slog.dir}
data_dirs = %{data.dirs}

[pegasus.clusters]
%{cluster.name} = %{meta.server.list}

[zookeeper]
hosts_list = %{zk.server.list}
`

func pegasusVars() map[string]string {
	return map[string]string{"app_dir": "/home/work/app/pegasus", "meta_server_list": "10.0.0.1:34601,10.0.0.2:34601", "cluster_name": "c3",
		"slog_dir": "", "data_dirs": "ssd1:/home/work/ssd1/pegasus,ssd2:/home/work/ssd2/pegasus", "zk_server_list": "10.0.0.9:2181"}
}

// with changes one variable.
func with(name, value string) map[string]string {
	vars := pegasusVars()
	vars[name] = value
	return vars
}

func TestRenderConfig(t *testing.T) {
	host := machine().Mkdir("/srv")
	setup := modtest.Setup{Files: map[string]string{"config.ini": pegasusTemplate, "go.tmpl": "[a]\nb = {{ .cluster_name }}\n"}, Vars: pegasusVars()}
	args := `{"src": "config.ini", "dest": "/srv/config.ini", "mode": "0640"}`
	r := once(t, RenderConfig(), args, host, setup)
	want := strings.NewReplacer("%{app.dir}", "/home/work/app/pegasus", "%{meta.server.list}", "10.0.0.1:34601,10.0.0.2:34601", "%{cluster.name}", "c3",
		"%{slog.dir}", "", "%{data.dirs}", pegasusVars()["data_dirs"], "%{zk.server.list}", "10.0.0.9:2181").Replace(pegasusTemplate)
	equal(t, "content", host.Content("/srv/config.ini"), want)
	equal(t, "diff", r.Diff[0], modules.Diff{Subject: "/srv/config.ini", After: want, Note: "is written"})
	equal(t, "mode", host.File("/srv/config.ini").Mode, 0o640)

	setup.Vars = with("cluster_name", "c4")
	r = once(t, RenderConfig(), args, host, setup)
	equal(t, "what was there before", r.Diff[0].Before, want)
	equal(t, "previous", r.Get("previous"), `"/srv/config.ini.previous"`)
	equal(t, "the version before", host.Content("/srv/config.ini.previous"), want)
	equal(t, "its mode", host.File("/srv/config.ini.previous").Mode, 0o640)

	once(t, RenderConfig(), `{"src": "config.ini", "dest": "/srv/v.ini", "values": {"cluster.name": "c5", "meta.server.list": ["10.0.0.3:1", "10.0.0.4:1"]},
		"append": "[simulator]\nspeed = 10\nname = %{cluster.name}"}`, host, setup)
	for _, line := range []string{"cluster_name = c5\n", "server_list = 10.0.0.3:1,10.0.0.4:1\n", "\n\n[simulator]\nspeed = 10\nname = c5\n"} {
		if !strings.Contains(host.Content("/srv/v.ini"), line) {
			t.Errorf("%q is not in\n%s", line, host.Content("/srv/v.ini"))
		}
	}
	once(t, RenderConfig(), `{"src": "go.tmpl", "dest": "/srv/g.ini", "format": "template"}`, host, setup)
	equal(t, "a Go template", host.Content("/srv/g.ini"), "[a]\nb = c4\n")

	host.Write("/opt/config.ini", pegasusTemplate)
	once(t, RenderConfig(), `{"src": "/opt/config.ini", "remote_src": true, "dest": "/srv/r.ini"}`, host, modtest.Setup{Vars: pegasusVars(), Trips: 2, ActTrips: 3})
	equal(t, "from the host", host.Content("/srv/r.ini"), want)
}

func TestRenderConfigRefuses(t *testing.T) {
	args := `{"src": "config.ini", "dest": "/srv/config.ini"}`
	files := func(text string) map[string]string { return map[string]string{"config.ini": text} }
	host := machine().Mkdir("/srv")
	case1 := func(name, text string, vars map[string]string, want string) modtest.ErrorCase {
		return modtest.ErrorCase{Name: name, Args: args, Host: host, Setup: modtest.Setup{Files: files(text), Vars: vars}, Want: want}
	}
	short := pegasusVars()
	delete(short, "zk_server_list")
	delete(short, "data_dirs")
	modtest.Errors(t, RenderConfig(), []modtest.ErrorCase{
		case1("markers left", pegasusTemplate, short, "config.ini has 2 problems:\n  config.ini:11:13: %{data.dirs} has no value; set the variable data_dirs, or values\n"+
			"  config.ini:17:14: %{zk.server.list} has no value"),
		case1("marker without an end", "[a]\nb = %{c\n", nil, "config.ini:2:5: %{ has no } on its line"),
		case1("marker of nothing", "[a]\nb = %{}\n", nil, "%{} is no marker"),
		case1("marker in a comment", "; %{x.y}\n[a]\n", nil, "config.ini:1:3: %{x.y} has no value"),
		case1("marker in a value", "[a]\nb = %{x}\n", map[string]string{"x": "%{y}"}, "holds a marker itself"),
		case1("line break in a value", "[a]\nb = %{x}\n", map[string]string{"x": "1\n[c]"}, "has a line break"),
		case1("name in a server list", pegasusTemplate, with("meta_server_list", "10.0.0.1:34601,meta2:34601"), `config.ini:6: [meta_server] server_list: "meta2:34601" is no ip:port; only IP addresses`),
		case1("no port", pegasusTemplate, with("zk_server_list", "10.0.0.9"), `[zookeeper] hosts_list: "10.0.0.9" is no ip:port`),
		case1("extra comma", pegasusTemplate, with("zk_server_list", "10.0.0.9:2181,"), "extra comma"),
		case1("empty list", pegasusTemplate, with("zk_server_list", ""), "the list is empty"),
		case1("server twice", pegasusTemplate, with("zk_server_list", "10.0.0.9:1, 10.0.0.9:1"), "10.0.0.9:1 is there twice"),
		case1("directory without a name", pegasusTemplate, with("data_dirs", "/ssd1"), "is no name:path"),
		case1("name twice", pegasusTemplate, with("data_dirs", "a:/ssd1,a:/ssd2"), "the name a is there twice"),
		case1("path twice", pegasusTemplate, with("data_dirs", "a:/ssd1,b:/ssd1/"), "the path /ssd1 is there twice"),
		case1("relative path", pegasusTemplate, with("data_dirs", "a:ssd1"), "relative path"),
		case1("relative log", pegasusTemplate, with("slog_dir", "x"), "[replication] slog_dir: x is a relative path"),
		case1("no section", "a = 1\n", nil, "config.ini:1: a stands before the first section"),
		case1("bad section", "[a\nb = 1\n", nil, "config.ini:1: a section has no name or no ]"),
		case1("no key", "[a]\n= 1\n", nil, "config.ini:2: a value has no key"),
		case1("key twice", "[a]\nb = 1\nb = 2\n", nil, "[a] b is given already at config.ini:2"),
		{Name: "mapping", Args: `{"src": "config.ini", "dest": "/srv/x", "values": {"x": {"a": 1}}}`, Setup: modtest.Setup{Files: files("[a]\nb = %{x}\n")}, Want: "is a mapping"},
		{Name: "no template", Args: args, Want: "no file config.ini in templates"},
		{Name: "nothing on the host", Args: `{"src": "/none", "remote_src": true, "dest": "/srv/x"}`, Want: "is no file"},
	})
	equal(t, "nothing was written", host.File("/srv/config.ini").Kind, modules.Missing)
}

func TestChecksCanBeLeftOut(t *testing.T) {
	setup := modtest.Setup{Files: map[string]string{"c": pegasusTemplate + "[a]\n"}, Vars: with("meta_server_list", "meta1:34601")}
	once(t, RenderConfig(), `{"src": "c", "dest": "/etc/c", "checks": false}`, machine(), setup)
	setup.Files["c"] = "no ini %{cluster.name}\n"
	once(t, RenderConfig(), `{"src": "c", "dest": "/etc/c", "syntax": "none"}`, machine(), setup)
}

func TestLabTemplateRenders(t *testing.T) {
	text, err := os.ReadFile("../../lab/pegasus/package/config.ini")
	if err != nil {
		t.Fatal(err)
	}
	vars := with("home_dir", "/home/work")
	setup := modtest.Setup{Files: map[string]string{"config.ini": string(text)}, Vars: vars}
	once(t, RenderConfig(), `{"src": "config.ini", "dest": "/etc/config.ini", "values": {"primary.interface": ""}}`, machine(), setup)
}

func FuzzParseINI(f *testing.F) {
	f.Add(pegasusTemplate)
	f.Add("[a]\n=\n]")
	f.Fuzz(func(t *testing.T, text string) {
		entries, _ := parseINI("f", text)
		for _, e := range entries {
			if e.section == "" || e.key == "" || strings.Contains(e.value, "\n") {
				t.Errorf("entry %+v", e)
			}
			e.check()
		}
	})
}
