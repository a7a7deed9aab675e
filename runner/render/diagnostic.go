package render

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/pegbook/pegbook/runner/diag"
)

// Diagnostics shows every problem with its source line, sorted by place, and how many there are.
func Diagnostics(w io.Writer, list diag.List, o Options) {
	list = slices.Clone(list)
	list.Sort()
	source := NewSource(o.Secrets)
	for _, d := range list {
		d.Problem, d.Hint = o.Secrets.Text(d.Problem), o.Secrets.Text(d.Hint)
		Diagnostic(w, d, source, o.Color)
	}
	if len(list) > 1 {
		fmt.Fprintln(w, Tally(list))
	}
}

// Tally counts problems for people: "2 errors, 1 warning".
func Tally(list diag.List) string {
	warnings := 0
	for _, d := range list {
		if d.Warning {
			warnings++
		}
	}
	errors := len(list) - warnings
	switch {
	case warnings == 0:
		return HowMany(errors, "error")
	case errors == 0:
		return HowMany(warnings, "warning")
	}
	return HowMany(errors, "error") + ", " + HowMany(warnings, "warning")
}

// Diagnostic shows one problem: a line that editors can jump from, the source line with a mark below the
// place, and the hint. A nil source shows no lines.
//
//	site.yml:8:17: error: module directory takes no argument "pth"
//	   8 |     directory: {pth: /srv}
//	     |                 ^~~ did you mean "path"?
func Diagnostic(w io.Writer, d diag.Diagnostic, source *Source, color bool) {
	p := paint{color}
	word := p.in(red, "error")
	if d.Warning {
		word = p.in(yellow, "warning")
	}
	where := d.Position.String()
	if where != "" {
		where = p.in(bold, Clean(where, false)) + ": "
	}
	fmt.Fprintf(w, "%s%s: %s\n", where, word, Clean(d.Problem, false))
	hint := strings.Split(Clean(d.Hint, true), "\n")
	if d.Hint == "" {
		hint = nil
	}
	code := red
	if d.Warning {
		code = yellow
	}
	for _, line := range excerpt(p, code, d.Position, source, hint) {
		fmt.Fprintln(w, line)
	}
}

// beside is how long a hint may be, mark included, to stand beside the mark and not below it.
const beside = 118

// excerpt are the lines below a problem: its source with a mark, and the hint.
func excerpt(p paint, code string, at diag.Position, source *Source, hint []string) []string {
	line, ok := source.line(at)
	if !ok {
		return indented(p, "    ", hint)
	}
	number := fmt.Sprintf("%4d", at.Line)
	gutter := p.in(gray, strings.Repeat(" ", len(number))+" |")
	out := []string{p.in(gray, number+" |") + " " + line.text}
	if line.wide == 0 {
		return append(out, indented(p, strings.Repeat(" ", len(number))+"   ", hint)...)
	}
	mark := gutter + " " + strings.Repeat(" ", line.left) + p.in(code, "^"+strings.Repeat("~", line.wide-1))
	if len(hint) == 1 && line.left+line.wide+len(hint[0]) < beside {
		return append(out, mark+" "+p.in(cyan, hint[0]))
	}
	out = append(out, mark)
	return append(out, indented(p, strings.Repeat(" ", len(number))+"   ", hint)...)
}

func indented(p paint, by string, hint []string) []string {
	var out []string
	for i, line := range hint {
		lead := "hint: "
		if i > 0 {
			lead = "      "
		}
		out = append(out, by+p.in(cyan, lead)+line)
	}
	return out
}
