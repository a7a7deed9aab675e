package vars

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/internal/document"
	"github.com/pegbook/pegbook/runner/vault"
)

// ParseExtra reads the argument of one -e: k=v pairs (shell quoting, strings), a YAML or JSON mapping, or @file,
// which keys open when it is encrypted.
func ParseExtra(arg string, keys *vault.Keyring) (*Values, diag.List) {
	var problems diag.List
	at := diag.Position{File: "-e", Line: 1, Column: 1}
	if path, ok := strings.CutPrefix(arg, "@"); ok {
		vs, err := ReadFile(path, keys, &problems)
		if err != nil {
			problems.Add(diag.Position{File: "-e"}, "give @ and the name of a YAML or JSON file", "%v", cutPathError(err))
			return &Values{}, problems
		}
		return vs, problems
	}
	text := strings.TrimSpace(arg)
	if strings.HasPrefix(text, "{") || strings.HasPrefix(text, "[") || !strings.Contains(text, "=") && strings.Contains(text, ":") {
		if n := document.Parse([]byte(arg), at.File, &problems); n != nil {
			return ValuesFromNode(n, at.File, &problems), problems
		}
		return &Values{}, problems
	}
	return parsePairs(arg, at, &problems), problems
}

func cutPathError(err error) string {
	if p := (*fs.PathError)(nil); errors.As(err, &p) {
		return fmt.Sprintf("%s cannot be read: %v", p.Path, p.Err)
	}
	return err.Error()
}

// parsePairs reads "k=v k2='v 2'". Values are texts, which may be templates.
func parsePairs(arg string, at diag.Position, problems *diag.List) *Values {
	const hint = `write name=value pairs, a YAML or JSON mapping, or @file`
	vs := &Values{}
	words, err := splitWords(arg)
	if err != "" {
		problems.Add(at, hint, "%s", err)
		return vs
	}
	for _, w := range words {
		at := advance(at, arg[:w.off])
		name, value, ok := strings.Cut(w.text, "=")
		switch {
		case !ok:
			problems.Add(at, hint, "%q is no name=value", w.text)
		case !IsName(name):
			problems.Add(at, "use letters, digits and _, and no digit first", "%q cannot be used as a variable's name", name)
		default:
			vs = vs.With(name, FromText(value, diag.Position{File: at.File, Line: at.Line, Column: at.Column + len(name) + 1}, problems))
		}
	}
	return vs
}

type word struct {
	text string
	off  int
}

// splitWords splits as a shell does, quotes taken off; a template's {{ }} holds its words together.
func splitWords(arg string) (words []word, problem string) {
	var w strings.Builder
	var quote byte
	inside, start, braces := false, 0, 0
	for i := 0; i < len(arg); i++ {
		c := arg[i]
		switch {
		case quote == 0 && braces == 0 && isSpace(c):
			if inside {
				words = append(words, word{w.String(), start})
				w.Reset()
				inside = false
			}
			continue
		case !inside:
			inside, start = true, i
		}
		switch {
		case strings.HasPrefix(arg[i:], "{{"), strings.HasPrefix(arg[i:], "}}"):
			braces = max(0, braces+map[byte]int{'{': 1, '}': -1}[c])
			w.WriteString(arg[i : i+2])
			i++
		case braces == 0 && quote != '\'' && c == '\\' && i+1 < len(arg) && (quote == 0 || arg[i+1] == '"' || arg[i+1] == '\\'):
			i++
			w.WriteByte(arg[i])
		case braces == 0 && quote == 0 && (c == '"' || c == '\''):
			quote = c
		case braces == 0 && quote != 0 && c == quote:
			quote = 0
		default:
			w.WriteByte(c)
		}
	}
	switch {
	case quote != 0:
		return nil, "a quote is not closed"
	case braces != 0:
		return nil, "a {{ is not closed"
	case inside:
		words = append(words, word{w.String(), start})
	}
	return words, ""
}
