package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pegbook/pegbook/runner"
)

// list prints what --list-hosts, --list-tasks and --list-tags ask for, play by play, as ansible-playbook does.
func (a *app) list(plan *runner.Plan, what string) {
	book, number := "", 0
	for _, p := range plan.Graph() {
		if p.Playbook != book {
			book, number = p.Playbook, 0
			fmt.Fprintf(cleaned{a.out}, "\nplaybook: %s\n", book)
		}
		number++
		fmt.Fprintf(cleaned{a.out}, "\n  play #%d (%s): %s\tTAGS: [%s]\n", number, strings.Join(p.Patterns, ","), p.Play, strings.Join(p.Tags, ", "))
		tasks := listed(p.Rows)
		switch what {
		case "hosts":
			fmt.Fprintf(cleaned{a.out}, "    pattern: %q\n    hosts (%d):\n", p.Patterns, len(p.Hosts))
			for _, host := range p.Hosts {
				fmt.Fprintf(cleaned{a.out}, "      %s\n", host)
			}
		case "tasks":
			fmt.Fprintln(cleaned{a.out}, "    tasks:")
			for _, t := range tasks {
				fmt.Fprintf(cleaned{a.out}, "      %s\tTAGS: [%s]\n", t.Name, strings.Join(sorted(t.Tags), ", "))
			}
		case "tags":
			var tags []string
			for _, t := range tasks {
				tags = append(tags, t.Tags...)
			}
			fmt.Fprintf(cleaned{a.out}, "      TASK TAGS: [%s]\n", strings.Join(slices.Compact(sorted(tags)), ", "))
		}
	}
}

func sorted(tags []string) []string {
	tags = slices.Clone(tags)
	slices.Sort(tags)
	return tags
}

// listed are the tasks that a list shows: those that a run in which nothing fails goes through, without what the
// runner does itself.
func listed(rows []runner.RowNode) []runner.RowNode {
	var tasks []runner.RowNode
	for _, r := range rows {
		switch {
		case r.Kind == "parallel":
			for _, side := range r.Sides {
				tasks = append(tasks, listed(side)...)
			}
		case (r.Kind == "task" || r.Kind == "include") && r.Section != "rescue" && r.Section != "always":
			tasks = append(tasks, r)
		}
	}
	return tasks
}
