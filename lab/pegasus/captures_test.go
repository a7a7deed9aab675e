package pegasus

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/modtest"
	pegasusmodules "github.com/pegbook/pegbook/modules/pegasus"
)

// capture is one recorded command of a real 2.5.0 cluster (facts/pegasus-captures).
type capture struct {
	name, stdin, stdout, stderr, text string
	argv                              []string
	exit                              int
}

// verdict is how a capture compared; reason is why it could not be.
type verdict struct{ how, reason string }

var sections = regexp.MustCompile(`(?m)^### (stdin \(raw\)|exit code|stdout \(\d+ bytes\)|stderr \(\d+ bytes\)|end|argv|time|cwd|files.*?):? ?(.*)$`)

func readCaptures(t *testing.T) []*capture {
	f, err := os.Open("testdata/captures.tar.gz")
	require.NoError(t, err)
	defer f.Close()
	zip, err := gzip.NewReader(f)
	require.NoError(t, err)
	var out []*capture
	for r := tar.NewReader(zip); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		require.NoError(t, err)
		if h.Typeflag != tar.TypeReg {
			continue
		}
		raw, err := io.ReadAll(r)
		require.NoError(t, err)
		c := &capture{name: strings.TrimSuffix(filepath.Base(h.Name), filepath.Ext(h.Name)), text: string(raw)}
		c.parse()
		out = append(out, c)
	}
}

func (c *capture) parse() {
	marks := sections.FindAllStringSubmatchIndex(c.text, -1)
	for i, m := range marks {
		end := len(c.text)
		if i+1 < len(marks) {
			end = marks[i+1][0]
		}
		head, rest := c.text[m[2]:m[3]], c.text[m[4]:m[5]]
		body := strings.TrimPrefix(c.text[m[1]:end], "\n")
		switch {
		case strings.HasPrefix(head, "argv"):
			_ = json.Unmarshal([]byte(rest), &c.argv) // another form has none
		case strings.HasPrefix(head, "exit"):
			c.exit, _ = strconv.Atoi(rest) // as above
		case strings.HasPrefix(head, "stdin"):
			c.stdin = strings.TrimSpace(body)
		case strings.HasPrefix(head, "stdout"):
			c.stdout = strings.TrimSuffix(body, "\n")
		case strings.HasPrefix(head, "stderr"):
			c.stderr = strings.TrimSuffix(body, "\n")
		}
	}
}

var printTable = flag.Bool("table", false, "print how each capture compares")

// TestCaptures replays what was recorded of a real 2.5.0 cluster and compares.
// What cannot be compared is listed with its reason, and a capture of which
// nothing is said fails. `make sim-check` prints the table.
func TestCaptures(t *testing.T) {
	all := readCaptures(t)
	require.Greater(t, len(all), 200)
	count := map[string]int{}
	for _, c := range all {
		result := "ok"
		var v verdict
		if !t.Run(c.name, func(t *testing.T) { v = c.compare(t) }) {
			result = "DIFFERS"
		}
		if v.reason != "" {
			result, v.how = "-", "not compared: "+v.reason
		}
		count[result]++
		if *printTable {
			fmt.Printf("%-66s %-8s %s\n", c.name, result, v.how)
		}
	}
	if *printTable {
		fmt.Printf("\n%d captures: %d compare, %d differ, %d are not compared\n", len(all), count["ok"], count["DIFFERS"], count["-"])
	}
	require.GreaterOrEqual(t, count["ok"], 70)
}

func (c *capture) compare(t *testing.T) verdict {
	if why := unlike(c.name); why != "" {
		return verdict{reason: why}
	}
	switch {
	case strings.HasPrefix(c.name, "http-"):
		return c.compareHTTP(t)
	case strings.HasPrefix(c.name, "badconfig-"), strings.HasPrefix(c.name, "exit-code-on-SIGTERM"):
		return c.compareStart(t)
	case strings.Contains(c.stderr, "CALL ["):
		return c.compareCalls(t)
	case strings.HasPrefix(c.name, "shell-"):
		return c.compareShell(t)
	}
	t.Errorf("nothing is said of %s", c.name)
	return verdict{}
}

// unlike is why a capture has nothing to be compared with.
func unlike(name string) string {
	for _, u := range []struct{ pattern, why string }{
		{`^(script|scriptfixed|runsh)-|^ha-.*\.?(downgrade|migrate)_node`, "of the release's scripts, which pegbook does not run"},
		{`-timeline$`, "real time and one run's order: the same course is tested in behaviour_test.go (restart, kill, failover, boot)"},
		{`^output-file-|^shell-.*-o-file`, "the shell's own files"},
		{`^(log-first-lines|ls-replica1-dir|ps-and-proc|zk-tree|meta2-log)`, "of a host: files, logs and processes of a real engine"},
		{`latency$|^metadown-meta1-(http|zk)`, "real time of a degraded cluster"},
		{`^exit-code-on-SIG(HUP|INT|KILL)`, "a signal that nothing handles: the kernel's work"},
		{`^exit-code-on-SIGQUIT`, "Go's runtime answers SIGQUIT with exit code 2, the real server dies of it"},
		{`^badconfig-(bad-interface|datadir-not-writable|meta-unreachable-zk|missing-pool|unreachable-meta|bad-int-flag|meta-not-in-server-list)`,
			"it runs on until it is killed; start_test.go has the cases that a simulated server can tell"},
		{`^shell-(server_stat|app_stat|app_disk|down-2-server_stat|down-2-app_|nodes-u)`, "values of a real storage engine"},
		{`^shell-(bad-|empty|unterminated|stdin-|version|.*no-?args?$|.*noport|.*-neg$|.*-bad$|remote-l-bad|replica-as-meta|create-|data-|balance-|propose-|.*malformed|meta-list|unreachable|non-primary|set_meta_level-|get_meta_level-after)`,
			"of the shell itself: its usage, its files, its own waits and words"},
		{`^shell-.*(-j|-d-j)$`, "the shell's JSON; the module has fields of its own"},
		{`^shell-(down|metadown|boot)-|^shell-nodes-d-.*(after|leftover)|^down-2-`, "a state of the cluster that was not recorded whole"},
		{`^kill_partition-`, "real time"},
		{`^shell-remote-kill_partition-2.0`, "the replica had been closed by the capture before"},
		{`^shell-cluster_info-r`, "the shell's look-up of host names"},
		{`^shell-app-nosuch`, "pegasus_shell's own words for an error"},
		{`^http-meta-standby_meta_nodes`, "the server had been crashed by the capture before; http.jsonl has the answer"},
		{`^http-(connection-refused|standby-meta1)`, "a dead server; the crash of a standby is TestHazardsKillTheServer"},
		{`^http-meta-primary_meta_query_duplication|^http-replica_replica_nosuch|pprof|perfCounter`, "profiler and duplication are not modelled, or a value of one moment"},
		{`^shell-remote-meta-dump`, "a file on the server"},
		{`^shell-(remote-l-perf|remote-replica-counts)`, "a snapshot of one moment; frames.jsonl has the same answers, byte for byte"},
	} {
		if regexp.MustCompile(u.pattern).MatchString(name) {
			return u.why
		}
	}
	return ""
}

// recordedCluster is the cluster as most captures found it, in memory.
type recordedCluster map[string]*process

func newRecordedCluster(t *testing.T) recordedCluster {
	all := recordedCluster{}
	for _, n := range []int{34601, 34602, 34603, 34801, 34802, 34803, 34804, 34805} {
		role := "replica"
		switch {
		case n == 34601:
			role = "meta"
		case n < 34700:
			role = "standby"
		}
		p := recordedServer(t, role)
		p.self = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(n))
		p.config.FlowControl, p.config.AddSecondaryMax, p.config.AssignDelayMS = false, 10, 300000
		if role == "meta" {
			p.actor = &metaRole{p: p, state: recordedState(t, p.config, p.self)}
		}
		all[p.self.String()] = p
	}
	return all
}

func (all recordedCluster) dial(_ context.Context, _, addr string) (net.Conn, error) {
	p := all[addr]
	if p == nil {
		return nil, errors.New("connection refused")
	}
	client, server := net.Pipe()
	go func() {
		defer server.Close()
		p.connection(server)
	}()
	return client, nil
}

func (c *capture) compareHTTP(t *testing.T) verdict {
	role := map[string]string{"meta-primary": "meta", "meta-standby": "standby", "replica": "replica", "collector": "collector"}
	name, _, _ := strings.Cut(strings.TrimPrefix(c.name, "http-"), "_")
	require.Contains(t, role, name)
	target := regexp.MustCompile(`http://[^/]+(/.*)`).FindStringSubmatch(c.argv[len(c.argv)-1])
	require.NotNil(t, target)
	p := recordedServer(t, role[name])
	p.Out = t.Output()
	if role[name] == "standby" && target[1] == "/meta/cluster" {
		p.httpCall(target[1])
		require.Error(t, p.life.Err(), "it crashes, as the real one")
		return verdict{how: "it crashes, too"}
	}
	got := string(p.httpCall(target[1]).bytes())
	times := regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`)
	want := strings.ReplaceAll(c.stdout, "\r\n", "\n")
	require.Equal(t, strings.TrimSpace(times.ReplaceAllString(want, "TIME")), strings.TrimSpace(times.ReplaceAllString(strings.ReplaceAll(got, "\r\n", "\n"), "TIME")))
	return verdict{how: "HTTP, byte for byte, times masked"}
}

var call = regexp.MustCompile(`(?m)^CALL \[[a-z-]+\] \[([0-9.:]+)\] (succeed|failed): (.*)$`)

// compareCalls compares what each server said to a remote command.
func (c *capture) compareCalls(t *testing.T) verdict {
	all := newRecordedCluster(t)
	times := regexp.MustCompile(`Started at .*`)
	compared := 0
	for _, one := range strings.Split(c.stderr, "COMMAND: ")[1:] {
		line, answers, _ := strings.Cut(one, "\n")
		words := strings.Fields(line)
		for _, m := range call.FindAllStringSubmatch(answers, -1) {
			p := all[m[1]]
			if m[2] == "failed" || p == nil {
				require.Nil(t, p, "%s did not answer", m[1])
				continue
			}
			require.Equal(t, times.ReplaceAllString(m[3], "TIME"), times.ReplaceAllString(p.worded(words[0], words[1:]), "TIME"), "%s", m[1])
			compared++
		}
	}
	if compared == 0 {
		return verdict{reason: "no server answered"}
	}
	return verdict{how: "remote command, literally, start times masked"}
}

// compareShell has our pegasus_shell print what the shell printed.
func (c *capture) compareShell(t *testing.T) verdict {
	all := newRecordedCluster(t)
	host := modtest.NewMachine("here")
	host.OnDial = func(ctx context.Context, network, addr string) (net.Conn, error) { return all.dial(ctx, network, addr) }
	modules := pegasusmodules.All()
	shell := modules[slices.IndexFunc(modules, isShell)]
	var got []string
	for _, line := range strings.Split(c.stdin, "\n") {
		raw, err := json.Marshal(map[string]string{"cmd": line, "meta_servers": "127.0.0.1:34601,127.0.0.1:34602,127.0.0.1:34603", "timeout": "5s"})
		require.NoError(t, err)
		p, err := modtest.Propose(t, shell, string(raw), host, modtest.Setup{})
		if err != nil {
			got = append(got, err.Error())
			continue
		}
		out, err := json.Marshal(p.Output)
		require.NoError(t, err)
		var shown struct{ Stdout string }
		require.NoError(t, json.Unmarshal(out, &shown))
		got = append(got, shown.Stdout)
	}
	_, want, _ := strings.Cut(c.stdout, "The cluster meta list is: ")
	_, want, _ = strings.Cut(want, "\n")
	want = strings.TrimSuffix(strings.TrimSpace(want), "dsn exit with code 0")
	shown, theirs := tables(strings.Join(got, "\n\n")), tables(want)
	require.NotEmpty(t, shown)
	for i, text := range shown {
		require.Contains(t, theirs, text, "table %d", i)
	}
	if len(shown) < len(theirs) {
		return verdict{how: fmt.Sprintf("pegasus_shell prints %d of the %d tables, as the shell; times, blanks masked", len(shown), len(theirs))}
	}
	return verdict{how: "pegasus_shell prints the same; times, blanks masked"}
}

// tables are the tables of the shell's answer, or the answer whole when it has
// none.
func tables(text string) []string {
	var out []string
	for _, part := range regexp.MustCompile(`(?m)^\[`).Split(tidy(text), -1) {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

func isShell(m *modules.Module) bool { return m.Name == "pegasus_shell" }

// tidy leaves out what is no content: blanks at line ends, empty lines, times,
// and what a balancer would do.
func tidy(text string) string {
	text = regexp.MustCompile(`\d{4}-\d\d-\d\d[_ ]\d\d:\d\d:\d\d`).ReplaceAllString(text, "TIME")
	var lines []string
	for _, l := range strings.Split(text, "\n") {
		if l = strings.TrimSpace(regexp.MustCompile(` +`).ReplaceAllString(l, " ")); l != "" {
			lines = append(lines, l)
		}
	}
	return strings.Join(lines, "\n")
}

// compareStart starts a server as it was started.
func (c *capture) compareStart(t *testing.T) verdict {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, library), nil, 0o644))
	const good = "[core]\ndata_dir = DIR/app\n[meta_server]\nserver_list = 127.0.62.253:34601\n"
	text := map[string]string{
		"badconfig-empty-file": "", "badconfig-garbage": "this is not an ini\n",
		"badconfig-bad-meta-list": strings.Replace(good, ":34601", "", 1), "badconfig-no-meta-list": "[core]\ndata_dir = DIR/app\n",
	}
	config, special := text[c.name]
	if !special {
		config = good
	}
	path := filepath.Join(dir, "config.ini")
	require.NoError(t, os.WriteFile(path, []byte(strings.ReplaceAll(config, "DIR", dir)), 0o644))
	args := map[string][]string{"badconfig-no-args": nil, "badconfig-missing-file": {"nosuch.ini", "-app_list", "replica"},
		"badconfig-unknown-app-list": {path, "-app_list", "nosuchapp"}}
	argv, special := args[c.name]
	if !special {
		argv = []string{path, "-app_list", "replica"}
	}
	if c.name == "badconfig-port-in-use" {
		busy, err := net.Listen("tcp", "127.0.62.252:34801")
		require.NoError(t, err)
		defer busy.Close()
	}
	env := map[string]string{"LD_LIBRARY_PATH": dir, ScaleEnv: "0.001", AddressEnv: "127.0.62.252"}
	var out strings.Builder
	term := make(chan os.Signal, 1)
	if strings.Contains(c.name, "SIGTERM") {
		time.AfterFunc(200*time.Millisecond, func() { term <- os.Interrupt })
	}
	code := Run(t.Context(), Options{Args: argv, Out: &out, Err: &out, Version: Version{Number: "2.5.0"}, Signals: term,
		Env: func(k string) string { return env[k] }})
	return c.sameEnd(t, code, out.String(), path)
}

func (c *capture) sameEnd(t *testing.T, code int, out, path string) verdict {
	if strings.Contains(c.name, "SIGTERM") {
		require.Zero(t, code)
		require.Contains(t, c.text, "return code 0")
		require.Contains(t, out, "got signal id: 15\ndsn exit with code 0\n")
		return verdict{how: "exit code and last words"}
	}
	want := c.exit
	if want < 0 { // Python's way to say: killed by a signal
		want = 128 - want
	}
	require.Equal(t, want, code, out)
	if code == abortCode {
		return verdict{how: "exit code of the abort"}
	}
	place := regexp.MustCompile(`in \S+,`)
	same := func(s string) string {
		return strings.TrimSpace(place.ReplaceAllString(strings.ReplaceAll(s, path, "config.ini"), "in DIR,"))
	}
	require.Equal(t, same(c.stdout), same(out))
	return verdict{how: "exit code and words, folders masked"}
}
