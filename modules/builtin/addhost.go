package builtin

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/pegbook/pegbook/modules"
)

// AddHost adds a host to the inventory of the run.
func AddHost() *modules.Module {
	return modules.Define("add_host", `Add a host to the inventory for the rest of the run

Runs once for all hosts of the batch. Plays behind this one can run on the host; the play that is running
does not. Every name but name and groups is a variable of the host.

    - name: the machine that was just made
      add_host:
        name: 10.0.0.17
        groups: [replica_server]
        ansible_user: admin`, proposeAddHost)
}

type addHostArgs struct {
	Name   string                     `arg:"name,required,alias=host,alias=hostname" doc:"the host"`
	Groups []string                   `arg:"groups,alias=group,alias=groupname" doc:"the groups that it joins, as a list or separated by commas; new ones are made"`
	Vars   map[string]json.RawMessage `arg:",rest" doc:"variables of the host"`
}

// addedHost is what add_host registers.
type addedHost struct {
	Host modules.Join `json:"add_host"`
}

func proposeAddHost(_ context.Context, _ *modules.Call, args addHostArgs) (*modules.Proposal, error) {
	var groups []string
	for _, text := range args.Groups {
		for group := range strings.SplitSeq(text, ",") {
			groups = append(groups, strings.TrimSpace(group))
		}
	}
	join := modules.Join{Host: args.Name, Groups: groups, Vars: args.Vars}
	return &modules.Proposal{Joins: []modules.Join{join}, Output: addedHost{join}}, nil
}

// GroupBy puts the host into a group of the inventory.
func GroupBy() *modules.Module {
	return modules.Define("group_by", `Put the host into a group, which is made if need be, for the rest of the run

    - name: a group for each system
      group_by:
        key: "os_{{ .ansible_os_family }}"
        parents: [systems]`, proposeGroupBy)
}

type groupByArgs struct {
	Key     string   `arg:"key,free,required" doc:"the group"`
	Parents []string `arg:"parents" doc:"groups that it becomes a child of; new ones are made"`
}

func proposeGroupBy(_ context.Context, _ *modules.Call, args groupByArgs) (*modules.Proposal, error) {
	if args.Key == "" {
		return nil, &modules.ArgumentError{Arg: "key", Problem: "the group has no name", Hint: "give a name, such as os_{{ .ansible_os_family }}"}
	}
	join := modules.Join{Groups: []string{groupName(args.Key)}}
	for _, parent := range args.Parents {
		join.Parents = append(join.Parents, groupName(parent))
	}
	return &modules.Proposal{Joins: []modules.Join{join}}, nil
}

// groupName makes a fact the name of a group, as Ansible does.
func groupName(text string) string { return strings.ReplaceAll(text, " ", "-") }
