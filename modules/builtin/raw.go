package builtin

import (
	"context"
	"strings"

	"github.com/pegbook/pegbook/modules"
)

// Raw runs a command line without a helper.
func Raw() *modules.Module {
	return modules.Define("raw", `Hand a command line to the login shell, and nothing else

For hosts where pegbook's helper cannot run (another processor, a router) or to prepare one. The line goes
over the connection as it is; nothing is copied to the host. The environment keyword has no effect, and a
command that is interrupted may go on. Everywhere else use command or shell. The task always counts as
changed, unless changed_when says otherwise.

    - name: what is this
      raw: uname -m
      register: machine
      changed_when: false`, proposeRaw)
}

type rawArgs struct {
	Cmd        string `arg:"cmd,free,required,alias=free_form" doc:"the command line"`
	Executable string `arg:"executable,path" doc:"a shell to run the line in, with -c; the user's login shell takes it when not given"`
}

func proposeRaw(_ context.Context, _ *modules.Call, args rawArgs) (*modules.Proposal, error) {
	if strings.TrimSpace(args.Cmd) == "" {
		return nil, &modules.ArgumentError{Arg: "cmd", Problem: "no command was given", Hint: "write the command line behind raw:"}
	}
	line := args.Cmd
	if args.Executable != "" {
		line = args.Executable + " -c " + shellQuoted(line)
	}
	out := &ran{Cmd: []string{line}, StdoutLines: []string{}, StderrLines: []string{}}
	return &modules.Proposal{
		Diff:   []modules.Diff{{Subject: firstLine(args.Cmd), Note: "runs"}},
		Output: out,
		Once:   true,
		Do: func(ctx context.Context, host modules.Host) error {
			return out.run(ctx, host, modules.Command{Argv: []string{line}, Bare: true}, false)
		},
	}, nil
}

// shellQuoted makes a text one word of a shell's command line.
func shellQuoted(text string) string { return "'" + strings.ReplaceAll(text, "'", `'"'"'`) + "'" }
