package builtin

import (
	"context"
	"path"
	"strings"

	"github.com/pegbook/pegbook/modules"
)

// Script runs a script of the control node on a host.
func Script() *modules.Module {
	return running(modules.Define("script", `Run a script of the control node on a host

The script is looked for in files/, copied to a folder on the host that only the user it runs as can
enter, run there by what its first line names (or executable), and removed again, also when it fails.
What follows the script's name is read by the host's shell. The task always counts as changed, unless
creates or removes says that there is nothing to do, or changed_when says otherwise. Scripts of more than
16 MiB are refused.

    - name: prepare the disks
      script: prepare-disks.sh --all "{{ .mount_point }}"
      args:
        creates: /srv/.prepared

    - name: with an interpreter
      script:
        cmd: report.py
        executable: /usr/bin/python3`, proposeScript))
}

type scriptArgs struct {
	Cmd        string `arg:"cmd,free,required,file=files,command" doc:"the script and its arguments"`
	Executable string `arg:"executable" doc:"the program that runs the script; what its first line names when not given"`
	Chdir      string `arg:"chdir,path" doc:"folder to run in; the user's home when not given"`
	Creates    string `arg:"creates" doc:"a path, or a pattern in its last part; the script does not run when it is there"`
	Removes    string `arg:"removes" doc:"a path, or a pattern in its last part; the script runs only when it is there"`
}

// maxScript bounds a script: it goes as a command's input.
const maxScript = 16 << 20

func proposeScript(ctx context.Context, call *modules.Call, args scriptArgs) (*modules.Proposal, error) {
	name, rest, err := firstWord(args.Cmd)
	if err != nil {
		return nil, &modules.ArgumentError{Arg: "cmd", Problem: err.Error(), Hint: "close the quote"}
	}
	if name == "" {
		return nil, &modules.ArgumentError{Arg: "cmd", Problem: "no script was given", Hint: "write the script's name behind script:"}
	}
	source, err := call.Open("files", name)
	if err != nil {
		return nil, err
	}
	if source.Size() > maxScript {
		return nil, &modules.ArgumentError{Arg: "cmd", Problem: source.Name() + " is longer than 16 MiB", Hint: "copy it with copy and run it with command"}
	}
	conditions := runningArgs{Chdir: args.Chdir, Creates: args.Creates, Removes: args.Removes, Strip: true}
	reason, err := conditions.nothingToDo(ctx, call.Host)
	if err != nil {
		return nil, err
	}
	if reason != "" {
		return &modules.Proposal{Skip: true, Message: reason}, nil
	}
	out := &ran{StdoutLines: []string{}, StderrLines: []string{}}
	s := &scriptRun{args: args, rest: rest, source: source, out: out}
	return &modules.Proposal{Diff: []modules.Diff{{Subject: name, Note: "runs"}}, Output: out, Do: s.do, Once: args.Creates == "" && args.Removes == ""}, nil
}

// firstWord splits a command line behind its first word, whose quotes are taken away.
func firstWord(line string) (word, rest string, err error) {
	line = strings.TrimSpace(line)
	for i := 1; i <= len(line); i++ {
		if i < len(line) && line[i] != ' ' && line[i] != '\t' && line[i] != '\n' {
			continue
		}
		words, problem := splitWords(line[:i])
		if problem == nil && len(words) == 1 {
			return words[0], strings.TrimSpace(line[i:]), nil
		}
		err = problem
	}
	return "", "", err
}

// scriptRun is one script on its way.
type scriptRun struct {
	args   scriptArgs
	rest   string // arguments, as they were written
	source modules.Source
	out    *ran
}

// runningScript makes a folder that nobody else can enter, puts its input into it as an executable file of the name
// $1, runs the line $2 with that file as $0, and takes the folder away again. The folder of pegbook's helper comes
// first: programs may run there. All is one command, so that it can go on by itself under async.
const runningScript = `p=$(umask 077
for d in "${XDG_CACHE_HOME:-$HOME/.cache}/pegbook" "/var/tmp/pegbook-$(id -u)" "${TMPDIR:-/tmp}"; do
  if [ -d "$d" ] && [ -w "$d" ] && [ -O "$d" ]; then break; fi
done
f=$(mktemp -d "$d/script-XXXXXXXXXX") || exit 1
if cat >"$f/$1" && chmod 700 "$f/$1"; then printf %s "$f"; else rm -rf "$f"; exit 1; fi) || exit 1
trap 'rm -rf "$p"' EXIT
trap 'exit 143' TERM HUP INT
/bin/sh -c "$2" "$p/$1" </dev/null`

func (s *scriptRun) do(ctx context.Context, host modules.Host) error {
	content, err := readSource(s.source)
	if err != nil {
		return err
	}
	name := path.Base(s.source.Name())
	line := strings.TrimSpace(s.args.Executable + ` "$0" ` + s.rest)
	err = s.out.run(ctx, host, modules.Command{Argv: []string{"/bin/sh", "-c", runningScript, "pegbook", name, line}, Stdin: content, Dir: s.args.Chdir}, true)
	s.out.Cmd = []string{name}
	if s.rest != "" {
		s.out.Cmd = append(s.out.Cmd, s.rest)
	}
	return err
}
