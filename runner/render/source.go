package render

import (
	"bytes"
	"os"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/width"

	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/secret"
)

// Source gives lines of the user's files to show below a diagnostic. It reads a file when a line of it is
// asked for, once. What may be a secret is not given out: vaulted files and values, and values of names
// that promise a secret.
type Source struct {
	files   map[string][]string
	secrets *secret.Set
}

// NewSource makes a Source that gives out no line with one of the secrets; nil has none.
func NewSource(known *secret.Set) *Source {
	return &Source{files: map[string][]string{}, secrets: known}
}

// maxSourceFile is the size up to which a file is read to show a line of it.
const maxSourceFile = 16 << 20

// lines are those of a file; none when it cannot be shown.
func (s *Source) lines(file string) []string {
	if lines, ok := s.files[file]; ok {
		return lines
	}
	s.files[file] = nil
	info, err := os.Stat(file)
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxSourceFile {
		return nil // a place on the command line, a pipe
	}
	content, err := os.ReadFile(file)
	if err != nil || !utf8.Valid(content) || bytes.HasPrefix(content, []byte("$ANSIBLE_VAULT")) {
		return nil
	}
	content = bytes.TrimPrefix(content, []byte("\ufeff"))
	s.files[file] = strings.Split(string(content), "\n")
	return s.files[file]
}

// Line is the text of a line as it may be shown, with the column behind what stands at the position; ""
// when it cannot or must not be shown.
func (s *Source) Line(at diag.Position) (text string, end int) {
	if s == nil || at.Line < 1 {
		return "", 0
	}
	lines := s.lines(at.File)
	if at.Line > len(lines) || confidential(lines, at.Line-1) {
		return "", 0
	}
	text = strings.TrimSuffix(lines[at.Line-1], "\r")
	if s.secrets.Text(text) != text {
		return "", 0
	}
	if at.Column > 0 {
		end = at.Column + extent([]rune(text), at.Column-1)
	}
	return text, end
}

// shownLine is a source line on the screen: where the mark below it begins and how wide it is, 0 for none.
type shownLine struct {
	text       string
	left, wide int
}

// maxShown is how many columns of a source line are shown.
const maxShown = 100

func (s *Source) line(at diag.Position) (shownLine, bool) {
	text, end := s.Line(at)
	if strings.TrimSpace(text) == "" {
		return shownLine{}, false
	}
	cells := cellsOf(text)
	mark := at.Column - 1
	if mark > len(cells) {
		mark = -1
	}
	from, to := window(cells, max(mark, 0))
	line := shownLine{text: shownText(cells, from, to)}
	if mark < 0 {
		return line, true
	}
	line.left = sum(cells[from:mark])
	if from > 0 {
		line.left++ // the …
	}
	line.wide = max(1, sum(cells[mark:min(max(end-1, mark), to)]))
	return line, true
}

// cell is what one rune of a line looks like and how many columns it takes.
type cell struct {
	text string
	wide int
}

const tabStop = 4

func cellsOf(line string) []cell {
	var cells []cell
	column := 0
	for _, r := range line {
		c := cell{string(r), 1}
		switch {
		case r == '\t':
			n := tabStop - column%tabStop
			c = cell{strings.Repeat(" ", n), n}
		case isControl(r):
			c.text = written(r)
			c.wide = len(c.text)
		case unicode.In(r, unicode.Mn, unicode.Me):
			c.wide = 0
		default:
			if k := width.LookupRune(r).Kind(); k == width.EastAsianWide || k == width.EastAsianFullwidth {
				c.wide = 2
			}
		}
		column += c.wide
		cells = append(cells, c)
	}
	return cells
}

func sum(cells []cell) int {
	n := 0
	for _, c := range cells {
		n += c.wide
	}
	return n
}

// window is the part of a long line that is shown: what stands around the mark.
func window(cells []cell, mark int) (from, to int) {
	if sum(cells) <= maxShown {
		return 0, len(cells)
	}
	from = mark
	for room := maxShown / 2; from > 0 && room > 0; from-- {
		room -= cells[from-1].wide
	}
	to = from
	for room := maxShown; to < len(cells) && room > 0; to++ {
		room -= cells[to].wide
	}
	return from, to
}

func shownText(cells []cell, from, to int) string {
	var b strings.Builder
	if from > 0 {
		b.WriteString("…")
	}
	for _, c := range cells[from:to] {
		b.WriteString(c.text)
	}
	text := strings.TrimRight(b.String(), " ")
	if to < len(cells) {
		text += "…"
	}
	return text
}

// extent is how many runes belong to what stands at a place: a quoted text, or a word.
func extent(line []rune, at int) int {
	if at < 0 || at >= len(line) {
		return 1
	}
	if quote := line[at]; quote == '"' || quote == '\'' {
		if n := slices.Index(line[at+1:], quote); n >= 0 {
			return n + 2
		}
	}
	n := 0
	for at+n < len(line) && (unicode.IsLetter(line[at+n]) || unicode.IsDigit(line[at+n]) || strings.ContainsRune("_-./$%", line[at+n])) {
		n++
	}
	return max(1, n)
}

var (
	secretName = regexp.MustCompile(`(?i)[\w-]*(passw|passphrase|_pass\b|secret|token|private[-_]?key|api[-_]?key|credential)[\w-]*["']?\s*[:=]\s*(.*)`)
	noSecret   = regexp.MustCompile(`(?i)^(["']?\{\{[^}]*\}\}["']?|true|false|yes|no)[\s,}\]]*(#.*)?$`)
	vaulted    = regexp.MustCompile(`!vault\b|\$ANSIBLE_VAULT`)
)

// confidential says whether a line must not be shown: it, or one that it stands below, is a vaulted value or has
// a name that promises a secret. A value that is only a template, or true or false, is none.
func confidential(lines []string, i int) bool {
	if hides(lines[i]) {
		return true
	}
	depth := indentation(lines[i])
	item := isItem(lines[i]) // which may stand as far left as the key it belongs to
	for i--; i >= 0 && (depth > 0 || item); i-- {
		in := indentation(lines[i])
		if strings.TrimSpace(lines[i]) == "" || in > depth || in == depth && (!item || isItem(lines[i])) {
			continue
		}
		depth, item = in, isItem(lines[i])
		if hides(lines[i]) {
			return true
		}
	}
	return false
}

func isItem(line string) bool { return strings.HasPrefix(strings.TrimSpace(line), "-") }

func hides(line string) bool {
	if vaulted.MatchString(line) {
		return true
	}
	m := secretName.FindStringSubmatch(line)
	return m != nil && !noSecret.MatchString(m[2])
}

func indentation(line string) int {
	return len(line) - len(strings.TrimLeft(line, " \t"))
}
