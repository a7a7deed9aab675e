package system

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/pegbook/pegbook/modules"
)

// Hostname names the machine.
func Hostname() *modules.Module {
	m := modules.Define("hostname", `Set the machine's name, now and for good

It does not change /etc/hosts. Where systemd runs, hostnamectl sets the name; elsewhere a file keeps it.
The facts about the name are set too.

    - name: the name of the inventory
      hostname:
        name: "{{ .inventory_hostname }}"`, proposeHostname)
	return modules.About(modules.Restoring(m, restoreHostname), func(hostnameArgs) string { return "name of the machine" })
}

type hostnameArgs struct {
	Name string `arg:"name,required" doc:"the name"`
	Use  string `arg:"use" choices:"systemd,debian,redhat,sles,alpine,generic" doc:"how the name is kept; systemd where that runs, else generic, which is /etc/hostname"`
}

// hostnameState is what hostname registers.
type hostnameState struct {
	Name string `json:"name"`
}

func proposeHostname(ctx context.Context, call *modules.Call, args hostnameArgs) (*modules.Proposal, error) {
	if args.Name == "" || len(args.Name) > 64 || strings.ContainsAny(args.Name, " /\n\t'\"$") || args.Name[0] == '-' {
		return nil, &modules.ArgumentError{Arg: "name", Problem: fmt.Sprintf("%q is no name of a machine", args.Name),
			Hint: "use at most 64 letters, digits, hyphens and periods"}
	}
	n, err := args.look(ctx, call.Host)
	if err != nil {
		return nil, err
	}
	p := &modules.Proposal{Output: hostnameState{args.Name}, Facts: nameFacts(args.Name), FactRank: modules.RankFound}
	kept := n.kept()
	w := rewrite{file: n.file, after: n.keeping(args.Name)}
	if kept != args.Name {
		p.Diff = append(p.Diff, modules.Diff{Subject: n.file.Path, Before: kept, After: args.Name, Note: fmt.Sprintf("name %s → %s", kept, args.Name)})
	}
	if n.now != args.Name {
		p.Diff = append(p.Diff, modules.Diff{Subject: "hostname", Note: fmt.Sprintf("%s → %s", n.now, args.Name)})
	}
	if len(p.Diff) == 0 {
		return p, nil
	}
	p.Predicts = map[string]string{"hostname": args.Name}
	p.Leaves = []modules.Change{w.change()}
	p.Before = n.before()
	p.Do = func(ctx context.Context, host modules.Host) error {
		return n.set(ctx, host, args.Name, w.change(), hostnamectl(args.Name, "--pretty", "--static"), hostnamectl(args.Name, "--transient"))
	}
	return p, nil
}

// naming is what a machine is called.
type naming struct {
	hostnameArgs
	file   modules.File // that keeps the name
	now    string
	pretty string // for people; hostnamectl empties it
}

// hostnameBefore is what hostname keeps of before.
type hostnameBefore struct {
	Now string `json:"now"`
	// File is the content of the file that keeps the name; Kept says that there was one.
	File   string `json:"file"`
	Kept   bool   `json:"kept"`
	Pretty string `json:"pretty,omitempty"`
}

func (n *naming) before() hostnameBefore {
	return hostnameBefore{Now: n.now, File: string(n.file.Content), Kept: n.file.Kind != modules.Missing, Pretty: n.pretty}
}

// look reads the names, and decides how they are kept.
func (a hostnameArgs) look(ctx context.Context, host modules.Host) (*naming, error) {
	files, err := host.Look(ctx, modules.Query{Path: a.path(), Follow: true, Content: 1 << 16}, modules.Query{Path: "/proc/sys/kernel/hostname", Content: 1 << 10},
		modules.Query{Path: "/run/systemd/system"}, modules.Query{Path: "/etc/machine-info", Follow: true, Content: 1 << 16})
	if err != nil {
		return nil, err
	}
	if a.Use == "" && files[2].Kind == modules.Directory {
		a.Use = "systemd"
	}
	n := &naming{hostnameArgs: a, file: files[0], now: strings.TrimSpace(string(files[1].Content))}
	if predicted, ok := host.Predicted("hostname"); ok {
		n.now = predicted
	}
	for _, line := range lines(string(files[3].Content)) {
		if name, ok := strings.CutPrefix(line, "PRETTY_HOSTNAME="); ok {
			n.pretty = strings.Trim(name, `"'`)
		}
	}
	return n, nil
}

// restoreHostname gives the machine the names that it had.
func restoreHostname(ctx context.Context, call *modules.Call, args hostnameArgs, before *hostnameBefore) (*modules.Proposal, error) {
	n, err := args.look(ctx, call.Host)
	if err != nil {
		return nil, err
	}
	p := &modules.Proposal{Output: hostnameState{n.now}, FactRank: modules.RankFound}
	if before == nil || n.before() == *before {
		p.Facts = nameFacts(n.now)
		return p, nil
	}
	p.Output, p.Facts, p.Before = hostnameState{before.Now}, nameFacts(before.Now), n.before()
	p.Diff = []modules.Diff{{Subject: "hostname", Note: fmt.Sprintf("%s → %s, as before", n.now, before.Now)}}
	p.Predicts = map[string]string{"hostname": before.Now}
	change := modules.Change{Kind: modules.Remove, Path: n.file.Path}
	if before.Kept {
		change = rewrite{file: n.file, after: before.File}.change()
	}
	p.Leaves = []modules.Change{change}
	was := *n
	was.file.Content = []byte(before.File)
	p.Do = func(ctx context.Context, host modules.Host) error {
		return n.set(ctx, host, before.Now, change,
			hostnamectl(was.kept(), "--static"), hostnamectl(before.Pretty, "--pretty"), hostnamectl(before.Now, "--transient"))
	}
	return p, nil
}

// set sets the name: with hostnamectl's commands where systemd runs, else in the file that keeps it and now. Names that are
// kept come before the present one, as in Ansible: a network manager would else set it back.
func (n *naming) set(ctx context.Context, host modules.Host, now string, change modules.Change, commands ...[]string) error {
	if n.Use != "systemd" {
		if err := host.Apply(ctx, change); err != nil {
			return err
		}
		commands = [][]string{{"hostname", now}}
	}
	_, err := host.Run(ctx, script(commands...))
	return err
}

// hostnamectl is a command that sets a name.
func hostnamectl(name string, which ...string) []string {
	return append(append([]string{"hostnamectl"}, which...), "set-hostname", name)
}

// path is where the name is kept.
func (a hostnameArgs) path() string {
	switch a.Use {
	case "redhat":
		return "/etc/sysconfig/network"
	case "sles":
		return "/etc/HOSTNAME"
	}
	return "/etc/hostname"
}

const sysconfigName = "HOSTNAME="

// kept is the name that the file keeps.
func (n *naming) kept() string {
	for _, line := range lines(string(n.file.Content)) {
		line = strings.TrimSpace(line)
		name, set := strings.CutPrefix(line, sysconfigName)
		if n.Use == "redhat" && set {
			return strings.Trim(name, `"'`)
		}
		if n.Use != "redhat" && line != "" && line[0] != '#' {
			return line
		}
	}
	return ""
}

// keeping is the file with the name.
func (n *naming) keeping(name string) string {
	if n.Use != "redhat" {
		return name + "\n"
	}
	all, found := lines(string(n.file.Content)), false
	for i, line := range all {
		if strings.HasPrefix(strings.TrimSpace(line), sysconfigName) {
			all[i], found = sysconfigName+name, true
		}
	}
	if !found {
		all = append(all, sysconfigName+name)
	}
	return unlines(all)
}

// nameFacts are the facts that follow from the name alone.
func nameFacts(name string) map[string]json.RawMessage {
	facts := map[string]json.RawMessage{}
	set := func(fact, value string) {
		raw, err := json.Marshal(value)
		if err != nil {
			panic("system: " + fact + ": " + err.Error())
		}
		facts["ansible_"+fact] = raw
	}
	short, domain, full := strings.Cut(name, ".")
	set("hostname", short)
	set("nodename", name)
	if full {
		set("fqdn", name)
		set("domain", domain)
	}
	return facts
}
