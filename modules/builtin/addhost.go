package builtin

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/pegbook/pegbook/modules"
)

// AddHost adds a host to the inventory of the run.
func AddHost() *modules.Module {
	return modules.Define("add_host", `Add a host to the inventory for the rest of the run

Runs once for all hosts of the batch. Plays behind this one can run on the host; the play that is running
does not. Every name but name and groups is a variable of the host. A port behind the name (web1:2222,
[fd00::1]:2222) is its SSH port.

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
	groups := []string{}
	for _, text := range args.Groups {
		for group := range strings.SplitSeq(text, ",") {
			if group = strings.TrimSpace(group); group != "" && !slices.Contains(groups, group) {
				groups = append(groups, group)
			}
		}
	}
	join := modules.Join{Host: args.Name, Groups: groups, Vars: map[string]json.RawMessage{}}
	maps.Copy(join.Vars, args.Vars)
	if name, port, ok := splitPort(args.Name); ok {
		join.Host = name
		join.Vars["ansible_ssh_port"] = json.RawMessage(port)
	}
	if join.Host == "" {
		return nil, &modules.ArgumentError{Arg: "name", Problem: "the host has no name", Hint: "give name"}
	}
	return &modules.Proposal{Joins: []modules.Join{join}, Output: addedHost{join}}, nil
}

// splitPort takes the port off a host's name. An address of IPv6 has one only behind brackets.
func splitPort(text string) (name, port string, ok bool) {
	i := strings.LastIndexByte(text, ':')
	if i < 0 {
		return text, "", false
	}
	name, port = text[:i], text[i+1:]
	inner, bracketed := strings.CutPrefix(strings.TrimSuffix(name, "]"), "[")
	if bracketed {
		name = inner
	} else if strings.Contains(name, ":") {
		return text, "", false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return name, port, err == nil && n > 0 && port[0] != '0'
}

// GroupBy puts the host into a group of the inventory.
func GroupBy() *modules.Module {
	return modules.Define("group_by", `Put the host into a group, which is made if need be, for the rest of the run

Spaces in the names of groups become hyphens. parents are groups that the group becomes a child of.

    - name: a group for each system
      group_by:
        key: "os_{{ .ansible_os_family }}"
        parents: [systems]`, proposeGroupBy)
}

type groupByArgs struct {
	Key     string   `arg:"key,free,required" doc:"the group"`
	Parents []string `arg:"parents" default:"all" doc:"the groups that it belongs to"`
}

// groupedBy is what group_by registers.
type groupedBy struct {
	Group   string   `json:"add_group"`
	Parents []string `json:"parent_groups"`
}

func proposeGroupBy(_ context.Context, _ *modules.Call, args groupByArgs) (*modules.Proposal, error) {
	if args.Key == "" {
		return nil, &modules.ArgumentError{Arg: "key", Problem: "the group has no name", Hint: "give a name, such as os_{{ .ansible_os_family }}"}
	}
	hyphens := func(name string) string { return strings.ReplaceAll(name, " ", "-") }
	out := groupedBy{Group: hyphens(args.Key), Parents: []string{}}
	join := modules.Join{Groups: []string{out.Group}, Vars: map[string]json.RawMessage{}}
	for _, parent := range args.Parents {
		out.Parents = append(out.Parents, hyphens(parent))
		if parent != "all" {
			join.Parents = append(join.Parents, hyphens(parent))
		}
	}
	return &modules.Proposal{Joins: []modules.Join{join}, Output: out}, nil
}
