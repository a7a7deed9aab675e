package system

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/modtest"
)

// recorded is what dnf 4 printed on a host with a repository of three packages: its standard output and
// error, and the code it ended with.
func recorded(t *testing.T, name string) modules.Output {
	t.Helper()
	raw, err := os.ReadFile("testdata/dnf/" + name + ".txt")
	if err != nil {
		t.Fatal(err)
	}
	var out modules.Output
	for line := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(line, "err: "); ok {
			out.Stderr = append(out.Stderr, rest...)
		} else if n, err := fmt.Sscanf(line, "rc %d\n", &out.ExitCode); n == 0 || err != nil {
			out.Stdout = append(out.Stdout, line...)
		}
	}
	return out
}

// dnfFake is a machine whose dnf answers as recorded, and whose rpm knows what was installed.
func dnfFake(t *testing.T, installed ...string) *modtest.Machine {
	t.Helper()
	m := modtest.NewMachine("host1").Write("/usr/bin/dnf", "")
	m.OnRun = func(_ context.Context, cmd modules.Command) (modules.Output, error) {
		if cmd.ReadOnly && len(cmd.Argv) > 4 {
			said := "program dnf\n"
			for _, name := range cmd.Argv[5:] {
				if slices.Contains(installed, name) {
					said += "there " + name + "\n"
				}
			}
			return modules.Output{Stdout: []byte(said)}, nil
		}
		_, body, _ := strings.Cut(cmd.Argv[2], "\n")
		words := unquote(t, body)
		verb := slices.IndexFunc(words, func(w string) bool { return slices.Contains([]string{"install", "upgrade", "remove"}, w) })
		what := words[verb+1:]
		if !cmd.ReadOnly {
			if words[verb] == "remove" {
				installed = slices.DeleteFunc(installed, func(n string) bool { return slices.Contains(what, n) })
			} else {
				installed = append(installed, what...)
			}
			return modules.Output{}, nil
		}
		switch {
		case what[0] == "nonesuch" && words[verb] == "remove":
			return recorded(t, "remove-unknown"), nil
		case what[0] == "nonesuch":
			return recorded(t, "unknown"), nil
		case words[verb] == "upgrade" && slices.Contains(installed, "upgraded"):
			return recorded(t, "there"), nil
		case words[verb] == "upgrade":
			installed = append(installed, "upgraded")
		}
		return recorded(t, words[verb]), nil
	}
	return m
}

func TestDnf(t *testing.T) {
	const long = "pbk-hello-with-a-very-long-name-that-wraps-in-the-table"
	cases := []struct {
		name, args, command, notes string
		installed                  []string
	}{
		{"new", `{"name": ["pbk-hello", "pbk-lib-1.0", "` + long + `"], "enablerepo": "local"}`,
			"dnf -y -q --enablerepo=local install pbk-hello pbk-lib-1.0 " + long,
			"package pbk-hello 1.0-1 is installed; package " + long + " 2.0-1 is installed; package pbk-lib 1.0-1 is installed", nil},
		{"there", `{"name": "pbk-lib"}`, "", "", []string{"pbk-lib"}},
		{"removed", `{"name": ["pbk-lib", "none"], "state": "removed", "autoremove": true}`, "dnf -y -q --setopt=clean_requirements_on_remove=True remove pbk-lib",
			"package pbk-lib 1.0-1 is removed; package pbk-hello 1.0-1 is removed", []string{"pbk-lib"}},
		{"removed before", `{"name": "pbk-lib", "state": "absent"}`, "", "", nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			host := dnfFake(t, c.installed...)
			r := once(t, Dnf(), c.args, host, modtest.Setup{ActTrips: 3})
			equal(t, "command", commands(host), c.command)
			equal(t, "differences", strings.Join(r.DiffNotes(), "; "), c.notes)
		})
	}
	modtest.Errors(t, Dnf(), []modtest.ErrorCase{
		{Name: "unknown", Args: `{"name": "nonesuch"}`, Host: dnfFake(t), Want: "there is no package nonesuch; is the name right"},
		{Name: "address", Args: `{"name": "https://example.org/x.rpm"}`, Want: "fetch the file with get_url"},
		{Name: "nothing", Args: `{}`, Want: "there is nothing to do"},
	})
	p, err := modtest.Propose(t, Yum(), `{"name": "pbk-lib", "state": "latest"}`, dnfFake(t, "pbk-lib"), modtest.Setup{})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "differences", strings.Join(modtest.Result{Proposal: p}.DiffNotes(), "; "), "package pbk-lib is upgraded to 1.1-1")
}
