package builtin

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"

	"github.com/pegbook/pegbook/modules"
)

// SetFact sets variables of a host.
func SetFact() *modules.Module {
	return modules.Define("set_fact", `Set variables of the host for the rest of the run

Every name but cacheable is a variable. Values keep their type; unlike in Ansible the text "yes" stays a
text.

    - name: where the new release goes
      set_fact:
        release: "pegasus-{{ .pegasus_version }}"
        ports: [34601, 34801]`, proposeSetFact)
}

type setFactArgs struct {
	Cacheable bool                       `arg:"cacheable" doc:"whether the variables are also facts of the host, which play variables hide"`
	Facts     map[string]json.RawMessage `arg:",rest" doc:"the variables and their values"`
}

// setFacts is what set_fact registers.
type setFacts struct {
	Facts map[string]json.RawMessage `json:"ansible_facts"`
}

// identifier is what a variable may be called.
const identifier = `^[A-Za-z_]\w*$`

func proposeSetFact(_ context.Context, _ *modules.Call, args setFactArgs) (*modules.Proposal, error) {
	if len(args.Facts) == 0 {
		return nil, &modules.ArgumentError{Problem: "no variable was given", Hint: "write name: value below set_fact"}
	}
	valid := regexp.MustCompile(identifier)
	for name := range args.Facts {
		if !valid.MatchString(name) {
			return nil, &modules.ArgumentError{Arg: name, Problem: fmt.Sprintf("%q cannot be a variable's name", name),
				Hint: "use letters, digits and _, and no digit first"}
		}
	}
	p := &modules.Proposal{Facts: args.Facts, Output: setFacts{args.Facts}}
	if args.Cacheable {
		p.FactRank = modules.RankBoth
	}
	return p, nil
}

// IncludeVars reads variables from a file.
func IncludeVars() *modules.Module {
	return modules.Define("include_vars", `Set variables of the host from a file of the control node

The file is YAML or JSON, looked for in vars/. Its values may be templates. They stand above the play's
and role's variables and below set_fact's, for the rest of the run.

    - name: settings of this version
      include_vars:
        file: "pegasus-{{ .pegasus_version }}.yml"`, proposeIncludeVars)
}

type includeVarsArgs struct {
	File string `arg:"file,free,required,file=vars" doc:"the file, looked for in vars/"`
	Name string `arg:"name" doc:"one variable that takes the whole content, in place of one for each name"`
}

// includedVars is what include_vars registers.
type includedVars struct {
	Files []string `json:"ansible_included_var_files"`
}

func proposeIncludeVars(_ context.Context, call *modules.Call, args includeVarsArgs) (*modules.Proposal, error) {
	source, err := call.Open("vars", args.File)
	if err != nil {
		return nil, err
	}
	return &modules.Proposal{
		VarFiles: []modules.VarFile{{Source: source, Under: args.Name}},
		Output:   includedVars{[]string{source.Name()}},
	}, nil
}
