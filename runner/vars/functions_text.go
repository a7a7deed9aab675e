package vars

import (
	"fmt"
	"html"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"text/template"

	"github.com/Masterminds/sprig/v3"
)

const maxText = 16 << 20

// textTable is functions over text, most of them sprig's.
func textTable() []tableRow {
	s := sprig.GenericFuncMap()
	rows := []tableRow{
		{"upper TEXT", "In capitals.", strings.ToUpper, nil},
		{"lower TEXT", "In small letters.", strings.ToLower, nil},
		{"title TEXT", "Every word with a capital.", s["title"], nil},
		{"untitle TEXT", "Every word with a small letter first.", s["untitle"], nil},
		{"swapcase TEXT", "Capitals and small letters exchanged.", s["swapcase"], nil},
		{"snakecase TEXT", "As snake_case.", s["snakecase"], nil},
		{"camelcase TEXT", "As CamelCase.", s["camelcase"], nil},
		{"kebabcase TEXT", "As kebab-case.", s["kebabcase"], nil},
		{"trim TEXT", "Without white space at both ends.", strings.TrimSpace, nil},
		{"trimAll CHARS TEXT", "Without any of the characters at both ends.", s["trimAll"], []string{"trimall"}},
		{"trimPrefix PREFIX TEXT", "Without the prefix.", s["trimPrefix"], nil},
		{"trimSuffix SUFFIX TEXT", "Without the suffix.", s["trimSuffix"], nil},
		{"nospace TEXT", "Without white space.", s["nospace"], nil},
		{"contains PART TEXT", "Whether the part is in the text.", s["contains"], nil},
		{"hasPrefix PREFIX TEXT", "Whether the text begins with the prefix.", s["hasPrefix"], nil},
		{"hasSuffix SUFFIX TEXT", "Whether the text ends with the suffix.", s["hasSuffix"], nil},
		{"replace OLD NEW TEXT", "With every OLD replaced by NEW.", replace, nil},
		{"repeat N TEXT", "The text N times.", repeat, nil},
		{"substr START END TEXT", "The bytes from START up to END; -1 is the end.", s["substr"], nil},
		{"trunc N TEXT", "The first N characters, or the last when N is negative.", s["trunc"], nil},
		{"abbrev WIDTH TEXT", "Cut to a width with … as the last three.", s["abbrev"], nil},
		{"abbrevboth LEFT RIGHT TEXT", "Cut on both sides.", s["abbrevboth"], nil},
		{"initials TEXT", "The first letter of every word.", s["initials"], nil},
		{"plural ONE MANY N", "ONE when N is 1, else MANY.", s["plural"], nil},
		{"wrap WIDTH TEXT", "Lines broken at a width.", s["wrap"], nil},
		{"wrapWith WIDTH BREAK TEXT", "Lines broken at a width with a text of your own.", wrapWith(s["wrapWith"]), nil},
		{"indent N TEXT", "Every line N spaces to the right.", indent, nil},
		{"nindent N TEXT", "A line break, then every line N spaces to the right.", func(n int, text string) (string, error) { t, err := indent(n, text); return "\n" + t, err }, nil},
		{"quote VALUE…", "Each value as text in double quotes; null is left out.", quoteWith(strconv.Quote), nil},
		{"squote VALUE…", "Each value as text in single quotes; null is left out.", quoteWith(func(t string) string { return "'" + t + "'" }), nil},
		{"cat VALUE…", "The values as text with spaces between; null is left out.", quoteWith(func(t string) string { return t }), nil},
		{"print VALUE…", "The values as text, with a space between two that are no texts.", printValues, nil},
		{"println VALUE…", "The values as text with spaces between and a line break.", func(v ...any) string { return strings.Join(texts(v), " ") + "\n" }, nil},
		{"printf FORMAT VALUE…", "Text made after a format such as \"%s:%d\" or \"%03d\".", printf, nil},
		{"html TEXT", "Escaped for HTML.", func(v any) string { return html.EscapeString(textOf(v)) }, nil},
		{"js TEXT", "Escaped for JavaScript.", func(v any) string { return template.JSEscapeString(textOf(v)) }, nil},
		{"urlquery TEXT", "Escaped for the query of a URL.", func(v any) string { return url.QueryEscape(textOf(v)) }, nil},
		{"split SEPARATOR TEXT", "The parts as a mapping _0, _1, …; see splitList.", func(separator, text string) (any, error) { return byNumber(split(separator, text, -1)) }, nil},
		{"splitn SEPARATOR N TEXT", "At most N parts as a mapping _0, _1, ….", func(separator string, n int, text string) (any, error) { return byNumber(split(separator, text, n)) }, nil},
		{"splitList SEPARATOR TEXT", "The parts as a list.", func(separator, text string) ([]string, error) { return split(separator, text, -1) }, nil},
		{"sha1sum TEXT", "The SHA-1 digest, hexadecimal.", s["sha1sum"], nil},
		{"sha256sum TEXT", "The SHA-256 digest, hexadecimal.", s["sha256sum"], nil},
		{"sha512sum TEXT", "The SHA-512 digest, hexadecimal.", s["sha512sum"], nil},
		{"adler32sum TEXT", "The Adler-32 checksum.", s["adler32sum"], nil},
	}
	return slices.Concat(rows, pathRows(s), regexRows())
}

func pathRows(s map[string]any) []tableRow {
	return []tableRow{
		{"base PATH", "The last element of a path.", path.Base, []string{"osBase"}},
		{"dir PATH", "A path without its last element.", path.Dir, []string{"osDir"}},
		{"clean PATH", "The shortest path that means the same.", path.Clean, []string{"osClean"}},
		{"ext PATH", "The extension of a path, with its dot.", path.Ext, []string{"osExt"}},
		{"isAbs PATH", "Whether a path begins with /.", path.IsAbs, []string{"osIsAbs"}},
		{"urlParse URL", "The parts of a URL as a mapping: scheme, host, hostname, path, query, ….", s["urlParse"], nil},
		{"urlJoin PARTS", "A URL of the parts that urlParse gives.", s["urlJoin"], nil},
		{"duration SECONDS", "Seconds as text such as 1m35s.", func(n int64) string { return seconds(n) }, nil},
		{"durationRound TEXT", "A duration such as 2h10m5s in its greatest unit: 2h.", roundDuration(s["durationRound"]), nil},
	}
}

func repeat(n int, text string) (string, error) {
	if n < 0 || n > 0 && len(text) > maxText/n {
		return "", fmt.Errorf("%d times the text is too much", n)
	}
	return strings.Repeat(text, n), nil
}

func indent(n int, text string) (string, error) {
	if n < 0 || n > 1000 {
		return "", fmt.Errorf("%d spaces are outside 0 to 1000", n)
	}
	if err := product(strings.Count(text, "\n")+1, n); err != nil {
		return "", err
	}
	pad := strings.Repeat(" ", n)
	return pad + strings.ReplaceAll(text, "\n", "\n"+pad), nil
}

func replace(old, new, text string) (string, error) { //nolint:revive // the words of the function's usage
	if err := product(strings.Count(text, old), len(new)); err != nil {
		return "", err
	}
	return strings.ReplaceAll(text, old, new), nil
}

func wrapWith(sprigs any) func(width int, lineBreak, text string) (string, error) {
	return func(width int, lineBreak, text string) (string, error) {
		if err := product(len(text)/max(width, 1)+1, len(lineBreak)); err != nil {
			return "", err
		}
		return sprigs.(func(int, string, string) string)(width, lineBreak, text), nil
	}
}

func split(separator, text string, n int) ([]string, error) {
	if (n < 0 || n > maxIterations) && strings.Count(text, separator) >= maxIterations {
		return nil, fmt.Errorf("the text has more than %d parts", maxIterations)
	}
	return strings.SplitN(text, separator, n), nil
}

func byNumber(parts []string, err error) (any, error) {
	out := make(map[string]string, len(parts))
	for i, part := range parts {
		out["_"+strconv.Itoa(i)] = part
	}
	return out, err
}

// quoteWith joins the values that are not null.
func quoteWith(quote func(string) string) func(v ...any) string {
	return func(v ...any) string {
		var out []string
		for _, e := range v {
			if e != nil {
				out = append(out, quote(textOf(e)))
			}
		}
		return strings.Join(out, " ")
	}
}

func texts(list []any) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = textOf(v)
	}
	return out
}

func printValues(v ...any) string {
	var b strings.Builder
	for i, e := range v {
		if i > 0 && kindOf(v[i-1]) != "string" && kindOf(e) != "string" {
			b.WriteByte(' ')
		}
		b.WriteString(textOf(e))
	}
	return b.String()
}

// printf refuses a format that does not fit its values, where Go would print %!d(string=…).
func printf(format string, v ...any) (string, error) {
	args := make([]any, len(v))
	clean := !strings.Contains(format, "%!")
	longest := maxWidth
	for i, e := range v {
		switch e.(type) {
		case nil, []any, map[string]any:
			args[i] = textOf(e)
		default:
			args[i] = e
		}
		text := textOf(e)
		clean, longest = clean && !strings.Contains(text, "%!"), max(longest, len(text))
	}
	if err := checkFormat(format, longest); err != nil {
		return "", err
	}
	out := fmt.Sprintf(format, args...)
	if _, rest, bad := strings.Cut(out, "%!"); clean && bad {
		verb, _, _ := strings.Cut(rest, "(") // without the value, which may be a secret
		return "", fmt.Errorf("the format %q does not fit its values: %%!%s", shorten(format), shorten(verb))
	}
	return out, nil
}

// maxWidth is the greatest width and precision of a format.
const maxWidth = 1000

// checkFormat bounds what a format can make of values of some length.
func checkFormat(format string, longest int) error {
	for digits := range strings.FieldsFuncSeq(format, func(r rune) bool { return r < '0' || r > '9' }) {
		if n, err := strconv.Atoi(digits); (err != nil || n > maxWidth) && widthPattern().MatchString(format) {
			return fmt.Errorf("a width in the format is greater than %d", maxWidth)
		}
	}
	return product(strings.Count(format, "%"), longest)
}

// widthPattern matches a verb with a width or precision of four digits or more, or one that an argument gives.
var widthPattern = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`%[-+# 0]*(\[\d+\])?(\d*\.)?\d{4,}`) })
