package builtin

import (
	"context"
	"errors"
	"path"
	"strings"
	"time"

	"github.com/pegbook/pegbook/modules"
)

// Command runs a program.
func Command() *modules.Module {
	return running(modules.Define("command", `Run a program without a shell

The command line is split into words as a shell would, and nothing else: no variable, pattern, pipe or
redirection means anything. Use shell for those. A program that ends with another code than 0 fails the
task. The task always counts as changed, unless creates or removes says that there is nothing to do, or
changed_when says otherwise.

    - name: build the index
      command: /opt/app/bin/index --all
      args:
        creates: /var/lib/app/index

    - name: arguments with spaces
      command:
        argv: [/opt/app/bin/say, "two words"]
        chdir: /opt/app`, proposeCommand))
}

// running marks a module that runs one command of the user's.
func running(m *modules.Module) *modules.Module {
	m.Runs = true
	return m
}

type commandArgs struct {
	Cmd  string   `arg:"cmd,free" doc:"the command line"`
	Argv []string `arg:"argv" doc:"the program and its arguments as a list, in place of cmd"`
	runningArgs
}

// runningArgs are what command and shell share.
type runningArgs struct {
	Chdir    string `arg:"chdir,path" doc:"folder to run in; the user's home when not given"`
	Creates  string `arg:"creates" doc:"a path, or a pattern in its last part; the command does not run when it is there"`
	Removes  string `arg:"removes" doc:"a path, or a pattern in its last part; the command runs only when it is there"`
	Stdin    string `arg:"stdin" doc:"what the command reads"`
	StdinEnd bool   `arg:"stdin_add_newline" default:"true" doc:"whether a line break is added to stdin"`
	Strip    bool   `arg:"strip_empty_ends" default:"true" doc:"whether empty lines at the end of the output are dropped"`
}

// ran is what a command registers.
type ran struct {
	Cmd         []string `json:"cmd"`
	RC          int      `json:"rc"`
	Stdout      string   `json:"stdout"`
	Stderr      string   `json:"stderr"`
	StdoutLines []string `json:"stdout_lines"`
	StderrLines []string `json:"stderr_lines"`
	Truncated   bool     `json:"truncated,omitempty"`
	Start       string   `json:"start,omitempty"`
	End         string   `json:"end,omitempty"`
	Delta       string   `json:"delta,omitempty"`
}

func proposeCommand(ctx context.Context, call *modules.Call, args commandArgs) (*modules.Proposal, error) {
	argv := args.Argv
	switch {
	case len(argv) > 0 && args.Cmd != "":
		return nil, &modules.ArgumentError{Arg: "argv", Problem: "cmd and argv exclude each other", Hint: "give one of them"}
	case len(argv) == 0:
		words, err := splitWords(args.Cmd)
		if err != nil {
			return nil, &modules.ArgumentError{Arg: "cmd", Problem: err.Error(), Hint: "close the quote, or use argv"}
		}
		argv = words
	}
	if len(argv) == 0 || argv[0] == "" {
		return nil, &modules.ArgumentError{Arg: "cmd", Problem: "no command was given", Hint: "write cmd or argv"}
	}
	return args.propose(ctx, call, argv, strings.Join(argv, " "))
}

// propose looks whether there is anything to do, and runs the command if so.
func (a runningArgs) propose(ctx context.Context, call *modules.Call, argv []string, shown string) (*modules.Proposal, error) {
	out := &ran{Cmd: argv, StdoutLines: []string{}, StderrLines: []string{}}
	reason, err := a.nothingToDo(ctx, call.Host)
	if err != nil {
		return nil, err
	}
	if reason != "" {
		out.Stdout = "skipped, since " + reason
		out.StdoutLines = []string{out.Stdout}
		return &modules.Proposal{Output: out, Message: out.Stdout}, nil
	}
	cmd := modules.Command{Argv: argv, Dir: a.Chdir}
	if a.Stdin != "" {
		cmd.Stdin = []byte(a.Stdin)
		if a.StdinEnd && !strings.HasSuffix(a.Stdin, "\n") {
			cmd.Stdin = append(cmd.Stdin, '\n')
		}
	}
	return &modules.Proposal{
		Diff:   []modules.Diff{{Subject: shown, Note: "runs"}},
		Output: out,
		Once:   a.Creates == "" && a.Removes == "",
		Do: func(ctx context.Context, host modules.Host) error {
			return out.run(ctx, host, cmd, a.Strip)
		},
	}, nil
}

// run runs a command and keeps what it left. Of one that failed, too: failed_when may think otherwise of it.
func (r *ran) run(ctx context.Context, host modules.Host, cmd modules.Command, strip bool) error {
	result, err := host.Run(ctx, cmd)
	var exit *modules.ExitError
	if errors.As(err, &exit) {
		result = exit.Output
	}
	r.fill(result, strip)
	return err
}

func (r *ran) fill(o modules.Output, strip bool) {
	r.RC, r.Truncated = o.ExitCode, o.Truncated
	r.Stdout, r.Stderr = string(o.Stdout), string(o.Stderr)
	if strip {
		r.Stdout, r.Stderr = strings.TrimRight(r.Stdout, "\r\n"), strings.TrimRight(r.Stderr, "\r\n")
	}
	r.StdoutLines, r.StderrLines = lines(r.Stdout), lines(r.Stderr)
	if !o.Started.IsZero() {
		const layout = "2006-01-02 15:04:05.000000"
		r.Start, r.End = o.Started.Format(layout), o.Ended.Format(layout)
		r.Delta = o.Ended.Sub(o.Started).Round(time.Microsecond).String()
	}
}

// lines splits text as Python's splitlines does: no last empty line, and none at all for no text.
func lines(text string) []string {
	if text == "" {
		return []string{}
	}
	text = strings.ReplaceAll(text, "\r\n", "\n")
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

// nothingToDo gives the reason why the command need not run; empty: it must.
func (a runningArgs) nothingToDo(ctx context.Context, host modules.Host) (string, error) {
	var queries []modules.Query
	for _, p := range []string{a.Creates, a.Removes} {
		if p == "" {
			continue
		}
		p = a.absolute(p)
		if !path.IsAbs(p) {
			return "", &modules.ArgumentError{Arg: "creates", Problem: p + " is a relative path", Hint: "write an absolute one, or set chdir"}
		}
		queries = append(queries, existence(p))
	}
	if len(queries) == 0 {
		return "", nil
	}
	files, err := host.Look(ctx, queries...)
	if err != nil {
		return "", err
	}
	if a.Creates != "" && exists(files[0], a.absolute(a.Creates)) {
		return a.Creates + " exists", nil
	}
	if a.Removes != "" && !exists(files[len(files)-1], a.absolute(a.Removes)) {
		return a.Removes + " does not exist", nil
	}
	return "", nil
}

// absolute takes a relative path as lying in the folder the command runs in.
func (a runningArgs) absolute(p string) string {
	if a.Chdir != "" && !path.IsAbs(p) {
		return path.Join(a.Chdir, p)
	}
	return p
}

// existence asks for a path, or for the folder that a pattern searches.
func existence(p string) modules.Query {
	if isPattern(p) {
		return modules.Query{Path: path.Dir(p), Follow: true, List: true}
	}
	return modules.Query{Path: p}
}

func exists(f modules.File, p string) bool {
	if !isPattern(p) {
		return f.Kind != modules.Missing
	}
	for _, entry := range f.Entries {
		if ok, err := path.Match(path.Base(p), path.Base(entry.Path)); err == nil && ok {
			return true
		}
	}
	return false
}

func isPattern(p string) bool { return strings.ContainsAny(path.Base(p), "*?[") }

// Shell runs a command line in a shell.
func Shell() *modules.Module {
	return running(modules.Define("shell", `Run a command line in a shell

Pipes, redirections, patterns and variables of the shell work. Quote what comes from variables with the
function quote. Otherwise as command.

    - name: how many connections are there
      shell: ss -tn state established | wc -l
      changed_when: false`, proposeShell))
}

type shellArgs struct {
	Cmd        string `arg:"cmd,free,required" doc:"the command line, handed to the shell as it is"`
	Executable string `arg:"executable,path" default:"/bin/sh" doc:"the shell"`
	runningArgs
}

func proposeShell(ctx context.Context, call *modules.Call, args shellArgs) (*modules.Proposal, error) {
	if strings.TrimSpace(args.Cmd) == "" {
		return nil, &modules.ArgumentError{Arg: "cmd", Problem: "no command was given", Hint: "write the command line behind shell:"}
	}
	return args.propose(ctx, call, []string{args.Executable, "-c", args.Cmd}, firstLine(args.Cmd))
}

func firstLine(text string) string {
	line, _, more := strings.Cut(strings.TrimSpace(text), "\n")
	if more {
		line += " …"
	}
	return line
}
