package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pegbook/pegbook/runner"
	"github.com/pegbook/pegbook/runner/render"
)

func newGraphCmd(a *app) *cobra.Command {
	var o selectOptions
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "graph PLAYBOOK...",
		Short: "Show plays, batches and steps of a run before it happens",
		Args:  needPlaybook,
		RunE: func(cmd *cobra.Command, args []string) error {
			plan, err := a.compile(cmd.Context(), o, args)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(a.out, plan.Graph())
			}
			a.writeGraph(plan.Graph())
			return nil
		},
	}
	o.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return cmd
}

func (a *app) writeGraph(plays []runner.PlayGraph) {
	for i, p := range plays {
		fmt.Fprintf(cleaned{a.out}, "%d. play %s  (%s, %d hosts%s)\n", i+1, p.Play, p.Strategy, len(p.Hosts), waitsFor(plays, i))
		for n, batch := range p.Batches {
			if len(p.Batches) > 1 {
				fmt.Fprintf(cleaned{a.out}, "   batch %d of %d: %s\n", n+1, len(p.Batches), strings.Join(batch, " "))
			}
		}
		if len(p.Batches) == 1 {
			fmt.Fprintf(cleaned{a.out}, "   hosts: %s\n", strings.Join(p.Batches[0], " "))
		}
		if p.Guard != nil {
			fmt.Fprintf(cleaned{a.out}, "   %s\n", guardText(*p.Guard))
			a.writeRows(p.Guard.Rows, 2, false)
		}
		if p.Lock != "" {
			fmt.Fprintf(cleaned{a.out}, "   lock: %s\n", p.Lock)
		}
		a.writeRows(p.Rows, 1, len(p.Handlers) > 0)
		if len(p.Handlers) > 0 {
			fmt.Fprintf(cleaned{a.out}, "   handlers: %s\n", strings.Join(p.Handlers, ", "))
		}
	}
}

// guardText says how a guard is looked at.
func guardText(g runner.GuardNode) string {
	text := "guard, before each batch and every " + render.Duration(time.Duration(g.EveryS*float64(time.Second)))
	if len(g.Hosts) > 0 {
		text += ", on " + render.Names(g.Hosts)
	}
	return text + ", a breach " + map[string]string{"pause": "pauses", "fail": "fails"}[g.OnBreach] + " the run:"
}

// waitsFor says which plays a play comes after, where these are not simply those before it.
func waitsFor(plays []runner.PlayGraph, i int) string {
	first := i
	for first > 0 && plays[first-1].Playbook == plays[i].Playbook {
		first--
	}
	if after := plays[i].After; len(after) != 1 || after[0] != i-first-1 {
		return startsAfter(first, i, after)
	}
	return ""
}

// startsAfter says what a play waits for. first is where its playbook's plays begin, i where it stands itself.
func startsAfter(first, i int, after []int) string {
	switch {
	case len(after) == 0 && i == first:
		return ""
	case len(after) == 0:
		return ", starts at once"
	}
	var numbers []string
	for _, n := range after {
		numbers = append(numbers, strconv.Itoa(first+n+1))
	}
	return ", after play " + strings.Join(numbers, " and ")
}

func (a *app) writeRows(rows []runner.RowNode, depth int, handlers bool) {
	for _, r := range rows {
		indent := strings.Repeat("  ", depth+r.Depth)
		section := ""
		if r.Section != "" && r.Section != "body" {
			section = r.Section + ": "
		}
		switch r.Kind {
		case "flush":
			if !handlers {
				continue // nothing to notify: three empty lines a play say nothing
			}
			fmt.Fprintf(cleaned{a.out}, " %s(notified handlers)\n", indent)
		case "parallel":
			fmt.Fprintf(cleaned{a.out}, " %sside by side:\n", indent)
			for _, side := range r.Sides {
				a.writeRows(side, depth+1, handlers)
			}
		default:
			fmt.Fprintf(cleaned{a.out}, " %s- %s%s%s\n", indent, section, r.Name, moduleNote(r))
		}
	}
}

func moduleNote(r runner.RowNode) string {
	what := r.Module
	if r.Kind != "task" && r.Kind != "facts" {
		what = r.Kind
	}
	if what == "" || what == r.Name {
		return ""
	}
	return "  [" + what + "]"
}
