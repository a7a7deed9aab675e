package render

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/pegbook/pegbook/runner/diag"
)

// Diagnostics shows every problem with its source line and a caret, and how many there are.
func Diagnostics(w io.Writer, list diag.List, color bool) {
	cache := map[string][]string{}
	read := func(file string) []string {
		if lines, ok := cache[file]; ok {
			return lines
		}
		var lines []string
		if content, err := os.ReadFile(file); err == nil { // no file: a place on the command line
			lines = strings.Split(string(content), "\n")
		}
		cache[file] = lines
		return lines
	}
	errors := 0
	for _, d := range list {
		Diagnostic(w, d, read, color)
		if !d.Warning {
			errors++
		}
	}
	if errors > 1 {
		fmt.Fprintf(w, "%d errors; nothing was contacted\n", errors)
	}
}

// Diagnostic shows one problem. source gives a file's lines; nil shows none.
func Diagnostic(w io.Writer, d diag.Diagnostic, source func(file string) []string, color bool) {
	p := paint{color}
	word := p.in(red, "error")
	if d.Warning {
		word = p.in(yellow, "warning")
	}
	where := d.Position.String()
	if where != "" {
		where += ": "
	}
	fmt.Fprintf(w, "%s%s: %s\n", where, word, Clean(d.Problem, false))
	if source != nil {
		snippet(w, p, d.Position, source(d.File))
	}
	if d.Hint != "" {
		fmt.Fprintf(w, "    %s %s\n", p.in(cyan, "hint:"), Clean(d.Hint, true))
	}
}

// maxSnippet is how much of a source line is shown.
const maxSnippet = 300

func snippet(w io.Writer, p paint, at diag.Position, lines []string) {
	if at.Line == 0 || at.Line > len(lines) {
		return
	}
	line := Clean(strings.ReplaceAll(lines[at.Line-1], "\t", " "), false)
	if len(line) > maxSnippet {
		if at.Column > maxSnippet {
			return // the place says more than an end of the line would
		}
		line = strings.ToValidUTF8(line[:maxSnippet], "") + "…"
	}
	number := fmt.Sprintf("%d", at.Line)
	fmt.Fprintf(w, "  %s %s %s\n", p.in(gray, number), p.in(gray, "|"), line)
	if at.Column > 0 && at.Column <= len(line)+1 {
		fmt.Fprintf(w, "  %s %s %s%s\n", strings.Repeat(" ", len(number)), p.in(gray, "|"), strings.Repeat(" ", at.Column-1), p.in(red, "^"))
	}
}
