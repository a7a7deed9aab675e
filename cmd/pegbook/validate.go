package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pegbook/pegbook/runner"
	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/render"
)

// validateOptions are the flags of validate.
type validateOptions struct {
	selectOptions
	asJSON, strict bool
}

func newValidateCmd(a *app) *cobra.Command {
	var o validateOptions
	cmd := &cobra.Command{
		Use:   "validate PLAYBOOK...",
		Short: "Find what is wrong with a playbook without contacting a host",
		Long: `Find what is wrong with a playbook without contacting a host: what run would refuse, and what it would
only warn of. Exit code 1 when there is an error, 0 with warnings only.`,
		Example: `  pegbook validate playbooks/deploy.yml -i prod.yml
  pegbook validate playbooks/*.yml -i prod.yml --strict`,
		Args: needPlaybook,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if o.keys, err = a.keyring(cmd.Context(), o.vault); err != nil {
				return err
			}
			o.openAll = true
			return a.validate(cmd.Context(), o, args)
		},
	}
	o.flags(cmd)
	o.connectionFlags(cmd)
	cmd.Flags().BoolVar(&o.asJSON, "json", false, "print each problem as a JSON object on a line, then a summary")
	cmd.Flags().BoolVar(&o.strict, "strict", false, "count a warning as an error")
	return cmd
}

func (a *app) validate(ctx context.Context, o validateOptions, paths []string) error {
	o.plugins = a.plugins
	plan, problems, err := o.check(ctx, paths)
	if err != nil {
		return a.jsonProblem(o.asJSON, err)
	}
	if o.strict {
		for i := range problems {
			problems[i].Warning = false
		}
	}
	if plan != nil {
		if err := o.needHosts(plan); err != nil {
			return err
		}
	}
	var size runner.Size
	if plan != nil {
		size = plan.Size()
	}
	if o.asJSON {
		err = a.validatedJSON(problems, size)
	} else {
		a.validated(problems, size)
	}
	if err == nil && problems.Failed() {
		return exitError(1)
	}
	return err
}

// validated shows what was found to people.
func (a *app) validated(problems diag.List, size runner.Size) {
	render.Diagnostics(a.err, problems, a.look())
	if problems.Failed() {
		return
	}
	fmt.Fprintf(a.out, "ok: %s, %s, %s\n", count(size.Plays, "play"), count(size.Tasks, "task"), count(size.Hosts, "host"))
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// validatedJSON prints a problem event a line, as run --json does, and a summary.
func (a *app) validatedJSON(problems diag.List, size runner.Size) error {
	a.problemEvents(problems)
	errors := 0
	for _, d := range problems {
		if !d.Warning {
			errors++
		}
	}
	return json.NewEncoder(a.out).Encode(summary{Event: "summary", OK: errors == 0, Errors: errors, Warnings: len(problems) - errors, Size: size})
}

// summary is the last line of validate --json. Its sizes are 0 where there are errors.
type summary struct {
	Event    string `json:"event"`
	OK       bool   `json:"ok"`
	Errors   int    `json:"errors"`
	Warnings int    `json:"warnings"`
	runner.Size
}
