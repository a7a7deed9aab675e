package builtin

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/modtest"
)

// echo answers every command with its arguments on stdout, and what it reads on stderr; false fails.
func echo(host *modtest.Machine) *modtest.Machine {
	host.OnRun = func(_ context.Context, cmd modules.Command) (modules.Output, error) {
		code := 0
		if cmd.Argv[0] == "false" {
			code = 3
		}
		return modules.Output{ExitCode: code, Stdout: []byte(strings.Join(cmd.Argv, "|") + "\n\n"), Stderr: cmd.Stdin,
			Started: time.Unix(100, 0), Ended: time.Unix(101, 5e8)}, nil
	}
	return host
}

func TestCommand(t *testing.T) {
	cases := []struct {
		name, args string
		argv       []string
		stdin, dir string
	}{
		{"words", `{"cmd": "echo 'two words' \"a \\\"b\" c\\ d $HOME | x"}`, []string{"echo", "two words", `a "b`, "c d", "$HOME", "|", "x"}, "", ""},
		{"argv", `{"argv": ["echo", "a b", 5]}`, []string{"echo", "a b", "5"}, "", ""},
		{"stdin and chdir", `{"cmd": "cat", "stdin": "x", "chdir": "/srv"}`, []string{"cat"}, "x\n", "/srv"},
		{"stdin without newline", `{"cmd": "cat", "stdin": "x", "stdin_add_newline": false}`, []string{"cat"}, "x", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			host := echo(modtest.NewMachine("host1"))
			r := once(t, Command(), c.args, host, modtest.Setup{Repeats: true, ActTrips: 1})
			if !r.Unknown {
				t.Error("check mode knows what the command would do")
			}
			cmd := host.Runs()[0]
			if !slices.Equal(cmd.Argv, c.argv) || string(cmd.Stdin) != c.stdin || cmd.Dir != c.dir || cmd.ReadOnly {
				t.Errorf("it ran %+v", cmd)
			}
			equal(t, "stdout", r.Get("stdout"), `"`+strings.ReplaceAll(strings.Join(c.argv, "|"), `"`, `\"`)+`"`)
			equal(t, "delta", r.Get("delta"), `"1.5s"`)
		})
	}
}

func TestCommandFailsAndStillRegisters(t *testing.T) {
	r := modtest.Converge(t, Command(), `{"cmd": "false"}`, echo(modtest.NewMachine("host1")), modtest.Setup{Repeats: true})
	if r.Err == nil {
		t.Fatal("it succeeded")
	}
	equal(t, "rc", r.Get("rc"), "3")
	equal(t, "stdout_lines", r.Get("stdout_lines"), `["false"]`)
}

func TestCommandCreatesAndRemoves(t *testing.T) {
	host := func() *modtest.Machine { return echo(modtest.NewMachine("host1").Write("/srv/data-1", "x")) }
	cases := []struct {
		args string
		runs bool
	}{
		{`{"cmd": "x", "creates": "/srv/data-1"}`, false},
		{`{"cmd": "x", "creates": "/srv/data-*"}`, false},
		{`{"cmd": "x", "creates": "data-1", "chdir": "/srv"}`, false},
		{`{"cmd": "x", "creates": "/srv/none"}`, true},
		{`{"cmd": "x", "creates": "/none/*"}`, true},
		{`{"cmd": "x", "removes": "/srv/none"}`, false},
		{`{"cmd": "x", "removes": "/srv/data-?"}`, true},
		{`{"cmd": "x", "creates": "/srv/none", "removes": "/srv/none"}`, false},
	}
	for _, c := range cases {
		r := once(t, Command(), c.args, host(), modtest.Setup{Repeats: c.runs})
		if runs := len(r.Diff) > 0; runs != c.runs {
			t.Errorf("%s: it runs: %v", c.args, runs)
		}
	}
}

func TestShell(t *testing.T) {
	host := echo(modtest.NewMachine("host1"))
	once(t, Shell(), `{"cmd": "a | b\nc", "executable": "/bin/bash"}`, host, modtest.Setup{Repeats: true})
	if argv := host.Runs()[0].Argv; !slices.Equal(argv, []string{"/bin/bash", "-c", "a | b\nc"}) {
		t.Errorf("it ran %q", argv)
	}
}

func TestCommandErrors(t *testing.T) {
	modtest.Errors(t, Command(), []modtest.ErrorCase{
		{Name: "nothing", Args: `{}`, Want: "no command was given"},
		{Name: "both", Args: `{"cmd": "a", "argv": ["b"]}`, Want: "exclude each other"},
		{Name: "quote", Args: `{"cmd": "a 'b"}`, Want: "a quote without an end"},
		{Name: "backslash", Args: `{"cmd": "a \\"}`, Want: "ends with a backslash"},
		{Name: "relative creates", Args: `{"cmd": "a", "creates": "x"}`, Want: "relative path"},
		{Name: "unknown argument", Args: `{"cmd": "a", "create": "/x"}`, Want: `there is no argument "create"`},
	})
	modtest.Errors(t, Shell(), []modtest.ErrorCase{{Name: "blank", Args: `{"cmd": "  "}`, Want: "no command was given"}})
}

func FuzzSplitWords(f *testing.F) {
	for _, seed := range []string{`a 'b c' "d\"e"`, `\`, `"`, `''`, "a\\\nb"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		words, err := splitWords(line)
		if err != nil {
			return
		}
		// Quoted anew, the words come back as they are.
		quoted := make([]string, len(words))
		for i, word := range words {
			quoted[i] = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
		}
		again, err := splitWords(strings.Join(quoted, " "))
		if err != nil || !slices.Equal(words, again) {
			t.Errorf("%q gives %q, and those %q, %v", line, words, again, err)
		}
	})
}
