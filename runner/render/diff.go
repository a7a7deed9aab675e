package render

import (
	"fmt"
	"strings"

	"github.com/aymanbagabas/go-udiff"

	"github.com/pegbook/pegbook/modules"
)

// diffLines shows differences: their one-line notes always under -v or --diff, texts as a unified diff
// under --diff only.
func diffLines(p paint, o Options, diffs []modules.Diff) []string {
	if !o.Diff && o.Verbosity == 0 {
		return nil
	}
	var lines []string
	for _, d := range diffs {
		if d.Note != "" {
			lines = append(lines, fmt.Sprintf("      %s: %s", Clean(d.Subject, false), Clean(d.Note, false)))
		}
		if !o.Diff {
			continue
		}
		lines = append(lines, textDiff(p, d)...)
	}
	return lines
}

func textDiff(p paint, d modules.Diff) []string {
	if d.Secret {
		return []string{"      " + Clean(d.Subject, false) + ": the texts are secret"}
	}
	if d.Before == d.After {
		return nil
	}
	text := udiff.Unified(d.Subject+" (now)", d.Subject+" (asked for)", withNewline(d.Before), withNewline(d.After))
	var lines []string
	for line := range strings.Lines(text) {
		line = Clean(strings.TrimSuffix(line, "\n"), false)
		switch {
		case strings.HasPrefix(line, "+"):
			line = p.in(green, line)
		case strings.HasPrefix(line, "-"):
			line = p.in(red, line)
		case strings.HasPrefix(line, "@"):
			line = p.in(cyan, line)
		}
		lines = append(lines, "      "+line)
	}
	return lines
}

// withNewline ends a text with a newline, so that a missing one at the end of a one-line value is no noise.
func withNewline(text string) string {
	if text == "" || strings.HasSuffix(text, "\n") {
		return text
	}
	return text + "\n"
}
