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
	return modules.Define("hostname", `Set the machine's name, now and for good

It does not change /etc/hosts. Where systemd runs, hostnamectl sets the name; elsewhere a file keeps it.
The facts about the name are set too.

    - name: the name of the inventory
      hostname:
        name: "{{ .inventory_hostname }}"`, proposeHostname)
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
	files, err := call.Host.Look(ctx, modules.Query{Path: args.file(), Follow: true, Content: 1 << 16},
		modules.Query{Path: "/proc/sys/kernel/hostname", Content: 1 << 10}, modules.Query{Path: "/run/systemd/system"})
	if err != nil {
		return nil, err
	}
	if args.Use == "" && files[2].Kind == modules.Directory {
		args.Use = "systemd"
	}
	now := strings.TrimSpace(string(files[1].Content))
	if predicted, ok := call.Host.Predicted("hostname"); ok {
		now = predicted
	}
	p := &modules.Proposal{Output: hostnameState{args.Name}, Facts: nameFacts(args.Name), FactRank: modules.RankFound}
	kept := args.kept(string(files[0].Content))
	w := rewrite{file: files[0], after: args.keeping(string(files[0].Content))}
	if kept != args.Name {
		p.Diff = append(p.Diff, modules.Diff{Subject: args.file(), Before: kept, After: args.Name, Note: fmt.Sprintf("name %s → %s", kept, args.Name)})
	}
	if now != args.Name {
		p.Diff = append(p.Diff, modules.Diff{Subject: "hostname", Note: fmt.Sprintf("%s → %s", now, args.Name)})
	}
	if len(p.Diff) == 0 {
		return p, nil
	}
	p.Predicts = map[string]string{"hostname": args.Name}
	p.Leaves = []modules.Change{w.change()}
	p.Do = func(ctx context.Context, host modules.Host) error { return args.do(ctx, host, w) }
	return p, nil
}

// do sets the kept name before the present one, as Ansible does: a network manager would else set it back.
func (a hostnameArgs) do(ctx context.Context, host modules.Host, w rewrite) error {
	if a.Use == "systemd" {
		_, err := host.Run(ctx, script([]string{"hostnamectl", "--pretty", "--static", "set-hostname", a.Name},
			[]string{"hostnamectl", "--transient", "set-hostname", a.Name}))
		return err
	}
	if err := host.Apply(ctx, w.change()); err != nil {
		return err
	}
	_, err := host.Run(ctx, script([]string{"hostname", a.Name}))
	return err
}

// file is where the name is kept.
func (a hostnameArgs) file() string {
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
func (a hostnameArgs) kept(text string) string {
	for _, line := range lines(text) {
		line = strings.TrimSpace(line)
		name, set := strings.CutPrefix(line, sysconfigName)
		if a.Use == "redhat" && set {
			return strings.Trim(name, `"'`)
		}
		if a.Use != "redhat" && line != "" && line[0] != '#' {
			return line
		}
	}
	return ""
}

// keeping is the file with the name.
func (a hostnameArgs) keeping(text string) string {
	if a.Use != "redhat" {
		return a.Name + "\n"
	}
	all, found := lines(text), false
	for i, line := range all {
		if strings.HasPrefix(strings.TrimSpace(line), sysconfigName) {
			all[i], found = sysconfigName+a.Name, true
		}
	}
	if !found {
		all = append(all, sysconfigName+a.Name)
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
