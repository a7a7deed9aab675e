package system

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pegbook/pegbook/modules"
)

// Group makes, changes or removes a group.
func Group() *modules.Module {
	return modules.Define("group", `Make, change or remove a group

local: true does not ask a directory service such as LDAP whether it knows the group. A group that is some
user's own is not removed without force.

    - name: the servers' group
      group:
        name: pegasus
        gid: 2001
        system: true`, proposeGroup)
}

type groupArgs struct {
	Name      string `arg:"name,required" doc:"the group"`
	GID       *int   `arg:"gid" doc:"its number; the host chooses when it is not given"`
	State     string `arg:"state" default:"present" choices:"present,absent" doc:"whether the group is there"`
	System    bool   `arg:"system" doc:"whether a new group gets one of the system's numbers"`
	Local     bool   `arg:"local" doc:"whether only the host's own files count"`
	NonUnique bool   `arg:"non_unique" doc:"whether another group may have the same gid"`
	Force     bool   `arg:"force" doc:"whether a group is removed though it is the own group of a user"`
}

// groupState is what group registers.
type groupState struct {
	Name   string `json:"name"`
	State  string `json:"state"`
	System *bool  `json:"system,omitempty"`
	GID    *int   `json:"gid,omitempty"`
}

func proposeGroup(ctx context.Context, call *modules.Call, args groupArgs) (*modules.Proposal, error) {
	if args.NonUnique && args.GID == nil {
		return nil, &modules.ArgumentError{Arg: "gid", Problem: "non_unique needs a gid", Hint: "give gid"}
	}
	files, err := call.Host.Look(ctx, accountFiles(false)...)
	if err != nil {
		return nil, err
	}
	a := readAccounts(files)
	found := a.group.find(args.Name)
	if found == nil && !args.Local {
		if found, err = a.elsewhere(ctx, call.Host, "group", args.Name); err != nil {
			return nil, err
		}
	}
	p := &modules.Proposal{Output: &groupState{Name: args.Name, State: args.State}}
	if args.State == "absent" {
		return p, args.remove(a, found, p)
	}
	return p, args.make(a, found, p)
}

func (a groupArgs) subject() string { return "group " + a.Name }

func (a groupArgs) remove(known *accounts, found record, p *modules.Proposal) error {
	if found == nil {
		return nil
	}
	argv := []string{"groupdel"}
	if a.Force {
		argv = append(argv, "-f")
	}
	for _, user := range known.passwd.records {
		if user.at(passwdGroup) == found.at(2) && !a.Force {
			return fmt.Errorf("group %s is the own group of user %s; remove the user first, or give force: true", a.Name, user[0])
		}
	}
	p.Diff = []modules.Diff{{Subject: a.subject(), Note: "is removed"}}
	known.group.remove(a.Name)
	p.Predicts, p.Leaves = map[string]string{}, known.group.leaves()
	p.Do = func(ctx context.Context, host modules.Host) error {
		_, err := host.Run(ctx, script(append(argv, a.Name)))
		return err
	}
	return nil
}

func (a groupArgs) make(known *accounts, found record, p *modules.Proposal) error {
	out := p.Output.(*groupState)
	out.System = &a.System
	if found != nil {
		id := found.id()
		out.GID = &id
		if a.GID == nil || *a.GID == id {
			return nil
		}
	}
	var options []string
	id := known.newID(known.group, "GID", a.System, -1)
	if a.GID != nil {
		id, options = *a.GID, []string{"-g", strconv.Itoa(*a.GID)}
		if other := known.group.byID(id); other != nil && !a.NonUnique {
			return fmt.Errorf("gid %d belongs to group %s; give %s another, or non_unique: true", id, other[0], a.Name)
		}
	}
	if a.NonUnique {
		options = append(options, "-o")
	}
	argv, note := append([]string{"groupmod"}, options...), ""
	updated := record{a.Name, "x", strconv.Itoa(id), ""}
	if found == nil {
		argv[0], note = "groupadd", "is made"
		if a.GID != nil {
			note = fmt.Sprintf("is made with gid %d", id)
		}
		if a.System {
			argv = append(argv, "-r")
		}
	} else {
		note = fmt.Sprintf("gid %s → %d", found.at(2), id)
		updated[groupMembers] = found.at(groupMembers)
		for i, user := range known.passwd.records { // groupmod takes the users along
			if user.at(passwdGroup) == found.at(2) {
				known.passwd.records[i] = slices.Clone(user)
				known.passwd.records[i][passwdGroup] = updated[2]
			}
		}
	}
	out.GID = &id
	p.Diff = []modules.Diff{{Subject: a.subject(), Note: note}}
	known.group.put(updated)
	p.Predicts, p.Leaves = map[string]string{}, slices.Concat(known.group.leaves(), known.passwd.leaves())
	p.Do = func(ctx context.Context, host modules.Host) error {
		done, err := host.Run(ctx, script(append(argv, a.Name), []string{"getent", "group", a.Name}))
		if err != nil {
			return err
		}
		*out.GID = record(strings.Split(lastLine(done.Stdout), ":")).id()
		return nil
	}
	return nil
}

// lastLine is the last line of an output.
func lastLine(out []byte) string {
	text := strings.TrimRight(string(out), "\r\n")
	return text[strings.LastIndexByte(text, '\n')+1:]
}
