package pegasus

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

func shellModule() *modules.Module {
	return modules.Define("pegasus_shell", `Run a command of the Pegasus shell, without the shell

Takes a command line as the Pegasus shell takes it and speaks it over the cluster's own RPC: nothing needs
to be installed. The answer of the meta server that leads counts, wherever it is and even when it changes.
Reading commands change nothing. Changing ones look first, change what differs and read it back; those
that only ask the meta server for something wait until it is so. A refusal is an error, unlike in the
shell: an error's text, "unknown command", a frozen cluster, no answer.

Commands:

  cluster_info | nodes [-d] [-s alive|unalive] | ls [-a] [-d] | app TABLE [-d]
  get_meta_level | set_meta_level stopped|blind|freezed|steady|lively
  remote_command [-t all|meta-server|replica-server | -l ip:port,…] COMMAND [ARGUMENTS]
  server_info, server_stat [-t … | -l …] | ddd_diagnose -g TABLE_ID
  propose -g ID.INDEX -p TYPE -t TARGET -n NODE | balance -g ID.INDEX -p move_pri|copy_pri|copy_sec -f FROM -t TO
  create TABLE [-p 4] [-r 3] [-e k=v,…] | drop TABLE [-r SECONDS] | recall ID [NAME] | rename OLD NEW
  get_app_envs TABLE | set_app_envs TABLE KEY VALUE … | del_app_envs TABLE KEY … | get_replica_count TABLE

A remote command that only the leader knows (meta.lb.…) goes to the leader alone, also with -t meta-server.
One with a value is read first and set where it differs; DEFAULT, and commands that are no settings, count
as changed every time.

The result has stdout for people and typed fields: level, cluster_info, nodes, tables, app, answers, value,
servers, envs, by command.

    - pegasus_shell:
        cmd: nodes -d
        meta_servers: 10.0.0.1:34601,10.0.0.2:34601
      register: cluster

    - pegasus_shell:
        cmd: remote_command -t meta-server meta.lb.assign_delay_ms 3600000
        meta_servers: [10.0.0.1:34601, 10.0.0.2:34601]

    - pegasus_shell: {cmd: create temp -p 8 -r 3, meta_servers: "10.0.0.1:34601"}`, proposeShell)
}

type shellArgs struct {
	clusterArgs
	Cmd string `arg:"cmd,required,free" doc:"the command line"`
}

// shellOutput is a command's result. Fields that a command has nothing for are left out.
type shellOutput struct {
	Cmd         string            `json:"cmd"`
	Stdout      string            `json:"stdout"`
	StdoutLines []string          `json:"stdout_lines"`
	Leader      string            `json:"leader,omitempty"`
	Level       string            `json:"level,omitempty"`
	LevelBefore string            `json:"level_before,omitempty"`
	ClusterInfo map[string]string `json:"cluster_info,omitzero"`
	Nodes       []nodeRow         `json:"nodes,omitzero"`
	Tables      []tableRow        `json:"tables,omitzero"`
	App         *appRow           `json:"app,omitempty"`
	// Answers are what each server said to a remote command.
	Answers []answerRow `json:"answers,omitzero"`
	// Value is that of a setting of the leader, or of the only server asked.
	Value   string            `json:"value,omitempty"`
	Servers []serverRow       `json:"servers,omitzero"`
	Envs    map[string]string `json:"envs,omitzero"`
	AppID   int               `json:"app_id,omitempty"`
	Count   int               `json:"count,omitempty"`
}

func (o *shellOutput) print(text string) {
	o.Stdout = strings.TrimRight(text, "\n")
	o.StdoutLines = strings.Split(o.Stdout, "\n")
}

// shell is one command in the making.
type shell struct {
	*session
	call *modules.Call
	args shellArgs
	out  *shellOutput
}

// shellCommand is a command of the shell. run gets the words behind its name.
type shellCommand struct {
	name, usage string
	run         func(sh *shell, ctx context.Context, words []string) (*modules.Proposal, error)
}

func shellCommands() []shellCommand {
	return []shellCommand{
		{"cluster_info", "", (*shell).clusterInfo},
		{"nodes", "[-d] [-s all|alive|unalive]", (*shell).nodes},
		{"ls", "[-a] [-d]", (*shell).ls},
		{"app", "TABLE [-d]", (*shell).app},
		{"get_meta_level", "", (*shell).getLevel},
		{"set_meta_level", "stopped|blind|freezed|steady|lively", (*shell).setLevel},
		{"remote_command", "[-t all|meta-server|replica-server | -l ip:port,…] COMMAND [ARGUMENTS]", (*shell).remote},
		{"server_info", "[-t all|meta-server|replica-server | -l ip:port,…]", (*shell).serverInfo},
		{"server_stat", "[-t replica-server | -l ip:port,…]", (*shell).serverStat},
		{"ddd_diagnose", "-g TABLE_ID", (*shell).diagnose},
		{"propose", "-g ID.INDEX -p ASSIGN_PRIMARY|ADD_SECONDARY|DOWNGRADE_TO_INACTIVE -t ip:port -n ip:port", (*shell).proposeOne},
		{"balance", "-g ID.INDEX -p move_pri|copy_pri|copy_sec -f ip:port -t ip:port", (*shell).balance},
		{"create", "TABLE [-p PARTITIONS] [-r REPLICAS] [-e KEY=VALUE,…] [-f]", (*shell).create},
		{"drop", "TABLE [-r SECONDS]", (*shell).drop},
		{"recall", "TABLE_ID [NEW_NAME]", (*shell).recall},
		{"rename", "OLD NEW", (*shell).rename},
		{"get_app_envs", "TABLE", (*shell).getEnvs},
		{"set_app_envs", "TABLE KEY VALUE [KEY VALUE …]", (*shell).setEnvs},
		{"del_app_envs", "TABLE KEY …", (*shell).deleteEnvs},
		{"get_replica_count", "TABLE", (*shell).replicaCount},
	}
}

func proposeShell(ctx context.Context, call *modules.Call, args shellArgs) (*modules.Proposal, error) {
	words, err := splitWords(args.Cmd)
	if err != nil || len(words) == 0 {
		return nil, &modules.ArgumentError{Arg: "cmd", Problem: "cmd: the command line is empty or its quotes do not match"}
	}
	var names []string
	for _, command := range shellCommands() {
		if command.name != words[0] {
			names = append(names, command.name)
			continue
		}
		s, err := open(call, call.Host, args.clusterArgs)
		if err != nil {
			return nil, err
		}
		defer s.Close()
		sh := &shell{session: s, call: call, args: args, out: &shellOutput{Cmd: args.Cmd, StdoutLines: []string{}}}
		p, err := command.run(sh, ctx, words[1:])
		var usage *usageError
		if errors.As(err, &usage) {
			return nil, &modules.ArgumentError{Arg: "cmd", Problem: "cmd: " + usage.problem,
				Hint: "write: " + strings.TrimSpace(command.name+" "+command.usage)}
		}
		if err != nil {
			return nil, sh.unpredicted(err)
		}
		if p.Output == nil {
			p.Output = sh.out
		}
		return p, nil
	}
	return nil, &modules.ArgumentError{Arg: "cmd", Problem: fmt.Sprintf("cmd: there is no command %q", words[0]),
		Hint: "the commands are " + strings.Join(names, ", ")}
}

// again gives the command a session with the host that Do gets. The caller closes it.
func (sh *shell) again(host modules.Host) (*session, error) {
	return open(sh.call, host, sh.args.clusterArgs)
}

// usageError is a command line that does not fit its command.
type usageError struct{ problem string }

func (e *usageError) Error() string { return e.problem }

func usage(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// splitWords cuts a line at blanks outside quotes.
func splitWords(text string) ([]string, error) {
	var words []string
	var word strings.Builder
	var quote rune
	inWord := false
	for _, r := range text {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, inWord = r, true
		case r == ' ' || r == '\t' || r == '\n':
			if inWord {
				words = append(words, word.String())
				word.Reset()
				inWord = false
			}
		default:
			word.WriteRune(r)
			inWord = true
		}
	}
	if quote != 0 {
		return nil, usage("a quote is not closed")
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}

// option is one that a command takes.
type option struct {
	short, long string
	value       bool
}

// options are a command line taken apart.
type options struct {
	given map[string]string // by long name
	rest  []string
}

func (o options) has(long string) bool { _, ok := o.given[long]; return ok }

// parseOptions takes options off the words. With stop, the first word that is none ends them.
func parseOptions(words []string, stop bool, known ...option) (options, error) {
	o := options{given: map[string]string{}}
	for i := 0; i < len(words); i++ {
		word := words[i]
		if !strings.HasPrefix(word, "-") || word == "-" {
			o.rest = append(o.rest, word)
			if stop {
				o.rest = append(o.rest, words[i+1:]...)
				return o, nil
			}
			continue
		}
		name, value, inline := strings.Cut(strings.TrimLeft(word, "-"), "=")
		found := option{}
		for _, k := range known {
			if strings.HasPrefix(word, "--") && k.long == name || !strings.HasPrefix(word, "--") && k.short == name {
				found = k
			}
		}
		switch {
		case found.long == "":
			return o, usage("there is no option %s", word)
		case !found.value:
		case !inline && i+1 == len(words):
			return o, usage("%s needs a value", word)
		case !inline:
			i++
			value = words[i]
		}
		o.given[found.long] = value
	}
	return o, nil
}

// gpid is the value of the option for a partition.
func (o options) gpid() (wire.GPID, error) {
	pid, err := wire.ParseGPID(o.given["gpid"])
	if err != nil {
		return pid, usage("%v", err)
	}
	return pid, nil
}

// only refuses words that a command does not take.
func (o options) only(n int, what string) error {
	switch {
	case len(o.rest) < n:
		return usage("%s is missing", what)
	case len(o.rest) > n:
		return usage("%q is too much", o.rest[n])
	}
	return nil
}
