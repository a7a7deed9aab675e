package main

import (
	"bufio"
	"context"
	"fmt"
	"strings"

	"github.com/pegbook/pegbook/runner"
	"github.com/pegbook/pegbook/runner/diag"
)

// answer asks all questions of vars_prompt and gives the plan with the answers. Without a terminal the
// defaults are the answers; questions that have none keep the run from starting.
func (a *app) answer(ctx context.Context, plan *runner.Plan) (*runner.Plan, error) {
	questions := plan.Questions()
	if len(questions) == 0 {
		return plan, nil
	}
	answers := make([]string, len(questions))
	if err := a.answers(ctx, questions, answers); err != nil {
		return nil, err
	}
	answered, problems := plan.Answered(answers)
	if problems.Failed() {
		return nil, problems.Err()
	}
	return answered, nil
}

func (a *app) answers(ctx context.Context, questions []runner.Question, answers []string) error {
	file, ok := terminal(a.in)
	if !ok {
		return a.withoutTerminal(questions)
	}
	in := bufio.NewReader(a.in)
	read := func(private bool) (string, error) {
		if !private {
			line, err := typed(ctx, file, func() (string, error) { return in.ReadString('\n') })
			return strings.TrimRight(line, "\r\n"), err
		}
		text, err := readSecret(ctx, file)
		fmt.Fprintln(a.err)
		return text, err
	}
	for i, q := range questions {
		var err error
		if answers[i], err = a.askQuestion(q, read); err != nil {
			return fmt.Errorf("%s: %w; nothing was done", q.Text, err)
		}
	}
	return nil
}

// askQuestion asks until there is an answer, and until it was typed alike twice where that is wanted.
func (a *app) askQuestion(q runner.Question, read func(private bool) (string, error)) (string, error) {
	for {
		suffix := ""
		switch {
		case q.HasDefault && q.Private:
			suffix = " [********]"
		case q.HasDefault:
			suffix = " [" + q.Default + "]"
		}
		fmt.Fprint(cleaned{a.err}, q.Text+suffix+": ")
		answer, err := read(q.Private)
		if err != nil {
			return "", err
		}
		if answer == "" && !q.HasDefault {
			continue
		}
		if !q.Confirm || answer == "" {
			return answer, nil
		}
		fmt.Fprint(cleaned{a.err}, "once more, "+q.Text+": ")
		again, err := read(q.Private)
		if err != nil || again == answer {
			return answer, err
		}
		fmt.Fprintln(cleaned{a.err}, "the two differ")
	}
}

// withoutTerminal says which questions nobody can answer, and which are answered by their defaults.
func (a *app) withoutTerminal(questions []runner.Question) error {
	var open diag.List
	for _, q := range questions {
		if !q.HasDefault {
			open.Add(q.At, fmt.Sprintf("give the answer with -e %s=…", q.Name), "vars_prompt asks for %q, and there is no terminal to ask on", q.Name)
		}
	}
	if open.Failed() {
		return open.Err()
	}
	for _, q := range questions {
		shown := q.Default
		if q.Private {
			shown = "its default"
		}
		fmt.Fprintf(cleaned{a.err}, "pegbook: there is no terminal to ask on: %s is %s\n", q.Name, shown)
	}
	return nil
}
