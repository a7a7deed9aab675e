package system

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/pegbook/pegbook/modules"
)

// Package installs and removes packages with what the host has for it.
func Package() *modules.Module {
	return modules.Define("package", `Install, upgrade or remove packages, whatever the system

Uses apt where there is apt-get, else dnf (or yum). Names of packages differ between distributions, and
this does not translate them. To look for the program takes a round trip; use says which it is and saves that.

    - name: the clock is kept
      package:
        name: chrony
        state: present`, proposePackage)
}

type packageArgs struct {
	Name   []string `arg:"name,required" doc:"the packages"`
	State  string   `arg:"state" default:"present" choices:"present,installed,latest,absent,removed" doc:"installed, the newest, or not installed"`
	Use    string   `arg:"use" default:"auto" choices:"auto,apt,dnf,yum" doc:"the package manager"`
	Update *bool    `arg:"update_cache" doc:"whether lists of packages are fetched first"`
}

func proposePackage(ctx context.Context, call *modules.Call, args packageArgs) (*modules.Proposal, error) {
	use := args.Use
	if use == "auto" {
		files, err := call.Host.Look(ctx, modules.Query{Path: "/usr/bin/apt-get", Follow: true}, modules.Query{Path: "/usr/bin/dnf", Follow: true},
			modules.Query{Path: "/usr/bin/yum", Follow: true})
		if err != nil {
			return nil, err
		}
		switch {
		case files[0].Kind != modules.Missing:
			use = "apt"
		case files[1].Kind != modules.Missing || files[2].Kind != modules.Missing:
			use = "dnf"
		default:
			return nil, errors.New("the host has none of apt-get, dnf and yum; use command with its own package manager")
		}
	}

	if use == "apt" {
		return proposeWith(ctx, call, Apt(), args)
	}
	return proposeWith(ctx, call, Dnf(), args)
}

// proposeWith hands the task to the module of a package manager.
func proposeWith(ctx context.Context, call *modules.Call, m *modules.Module, args packageArgs) (*modules.Proposal, error) {
	state, ok := map[string]string{"installed": "present", "removed": "absent"}[args.State]
	if !ok {
		state = args.State
	}
	raw, err := json.Marshal(struct {
		Name   []string `json:"name"`
		State  string   `json:"state"`
		Update *bool    `json:"update_cache"`
	}{args.Name, state, args.Update})
	if err != nil {
		return nil, fmt.Errorf("package: %w", err)
	}
	return m.Propose(ctx, call, raw)
}
