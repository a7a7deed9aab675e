package runner

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/pegbook/pegbook/runner/event"
	"github.com/pegbook/pegbook/runner/vars"
)

// shownValue is how many bytes of a variable's value a reason shows.
const shownValue = 80

// skip ends a task, or one item, because a condition of when is false.
func (st *step) skip(condition vars.Expr, s *vars.Scope, res *result) {
	res.status, res.passed = event.Skipped, true
	res.why.FalseCondition = condition.String()
	if st.r.opts.Verbosity > 0 {
		st.r.because(res, "when", s, condition)
	}
}

// because notes why conditions came out as they did.
func (r *run) because(res *result, keyword string, s *vars.Scope, conditions ...vars.Expr) {
	res.why.Reason, res.why.Values = r.whyOf(keyword, "was", s, conditions...)
}

// whyOf says which parts of conditions decided, and the values that they read. It evaluates them again: only
// what failed, or what somebody asks about, is worth that.
func (r *run) whyOf(keyword, is string, s *vars.Scope, conditions ...vars.Expr) (string, []event.Value) {
	var parts []string
	var values []event.Value
	outcome := true
	for _, c := range conditions {
		reason := c.Explain(s)
		parts = append(parts, reason.Part)
		outcome = reason.Holds
		for _, v := range reason.Values {
			values = append(values, r.read(v))
		}
	}
	text := strings.Join(parts, ", ")
	if text == fmt.Sprint(outcome) {
		return keyword + ": " + text, nil // "false was false" says nothing
	}
	return fmt.Sprintf("%s: %s %s %t", keyword, text, is, outcome), values
}

// read is a variable as shown. Secrets are masked before it is cut: a part of one would not be recognised.
func (r *run) read(v vars.Reading) event.Value {
	shown := event.Value{Name: v.Name}
	switch {
	case v.At.File != "":
		at := v.At
		at.Column = 0
		shown.From = at.String()
	case v.Layer != 0:
		shown.From = v.Layer.String()
	}
	if v.Known {
		shown.Value = cutJSON(r.secrets.JSON(v.Value.JSON()), shownValue)
	}
	return shown
}

// cutJSON is JSON of about so many bytes: what is longer becomes a text that ends in dots.
func cutJSON(raw json.RawMessage, most int) json.RawMessage {
	if len(raw) <= most {
		return raw
	}
	for !utf8.RuneStart(raw[most]) {
		most--
	}
	text := string(raw[:most])
	if raw[0] == '"' {
		text = strings.TrimRight(text[1:], `\`)
	}
	return vars.Of(text + "…").JSON()
}

// firstFalse is the first condition that does not hold; the zero Expr when all do.
func firstFalse(conditions []vars.Expr, s *vars.Scope) (vars.Expr, error) {
	for _, c := range conditions {
		ok, err := c.Bool(s)
		if err != nil {
			return vars.Expr{}, err
		}
		if !ok {
			return c, nil
		}
	}
	return vars.Expr{}, nil
}

// holds says whether all conditions are true; it stops at the first that is not.
func holds(conditions []vars.Expr, s *vars.Scope) (bool, error) {
	c, err := firstFalse(conditions, s)
	return err == nil && c.IsZero(), err
}
