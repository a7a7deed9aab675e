package vars

import (
	"os"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/vault"
)

// source is a text that was compiled and where it came from.
type source struct {
	text string
	// shift is how many bytes of text were put in front of what the user wrote.
	shift int
	at    diag.Position
	form  form
}

// form says how a text stands in its file, which decides where a byte of it is.
type form uint8

const (
	formText   form = iota // the text begins at the position and goes on line by line
	formPlain              // a YAML scalar begins at the position: without quotes,
	formQuoted             // in quotes,
	formBlock              // or as a block, whose header is there
)

// scalarForm is how a YAML scalar is written.
func scalarForm(style yaml.Style) form {
	switch {
	case style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0:
		return formQuoted
	case style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		return formBlock
	}
	return formPlain
}

// maxSource is the size up to which a file is read again to place an error in it; maxRefSource that for
// every template of it, when all references are listed.
const (
	maxSource    = 16 << 20
	maxRefSource = 256 << 10
)

// position is where a byte of the text is written.
func (s *source) position(off int) diag.Position {
	if s.form == formText || s.at.Line == 0 {
		return s.positionIn("", off)
	}
	return s.positionIn(s.file(maxSource), off)
}

// placer is position for many bytes: the file is read once.
func (s *source) placer() func(off int) diag.Position {
	file := ""
	if s.form != formText && s.at.Line > 0 {
		file = s.file(maxRefSource)
	}
	return func(off int) diag.Position { return s.positionIn(file, off) }
}

func (s *source) positionIn(file string, off int) diag.Position {
	if s.at.Line == 0 {
		return s.at
	}
	text := s.text[s.shift:]
	off = min(max(off-s.shift, 0), len(text))
	if s.form == formText {
		return advance(s.at, text[:off])
	}
	if file != "" {
		if p, ok := align(file, s.at, text, off); ok {
			return p
		}
	}
	return s.guessed(text[:off])
}

// guessed is the best that can be said without the file.
func (s *source) guessed(before string) diag.Position {
	at := s.at
	switch s.form {
	case formQuoted:
		at.Column++
	case formBlock:
		at.Line += 1 + strings.Count(before, "\n")
		at.Column = 0 // the indentation is not known
		return at
	}
	return advance(at, before)
}

// file is the YAML file itself, because a scalar does not say how it was quoted, indented and folded. It
// is "" when the file is too large or cannot be read; then, and when it has changed, places are guessed.
func (s *source) file(limit int64) string {
	if info, err := os.Stat(s.at.File); err != nil || !info.Mode().IsRegular() || info.Size() > limit {
		return ""
	}
	raw, err := os.ReadFile(s.at.File)
	if err != nil || vault.Sealed(raw) {
		return ""
	}
	return string(raw)
}

// expression is the action around a byte of the text, for messages.
func (s *source) expression(off int, delims [2]string) string {
	if s.shift > 0 {
		return shorten(strings.TrimSpace(strings.TrimSuffix(s.text[s.shift:], bareEnd)))
	}
	off = min(max(off, 0), len(s.text))
	start := strings.LastIndex(s.text[:off], delims[0])
	if start < 0 {
		start = off
	}
	end := strings.Index(s.text[start:], delims[1])
	if end < 0 {
		return shorten(s.text[start:])
	}
	return shorten(s.text[start : start+end+len(delims[1])])
}

func shorten(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if len(text) <= 70 {
		return text
	}
	cut := 67
	for !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "…"
}

// advance moves a position over text.
func advance(at diag.Position, text string) diag.Position {
	if n := strings.Count(text, "\n"); n > 0 {
		at.Line += n
		at.Column = 1
		text = text[strings.LastIndexByte(text, '\n')+1:]
	}
	at.Column = max(at.Column, 1) + utf8.RuneCountInString(text)
	return at
}

// align walks a scalar's value and its YAML source side by side and gives the place of a byte of the
// value. White space is skipped on both sides, so indentation and folding need no rules.
func align(file string, at diag.Position, value string, off int) (diag.Position, bool) {
	start, ok := index(file, at)
	if !ok {
		return diag.Position{}, false
	}
	w := walker{src: file, i: skipProperties(file, start)}
	if w.i < len(file) {
		w.open()
	}
	for v := 0; v <= off; v++ {
		if v == len(value) || isSpace(value[v]) {
			continue
		}
		w.skipSpace()
		if v == off {
			break
		}
		if !w.match(value[v]) {
			return diag.Position{}, false
		}
	}
	return advance(diag.Position{File: at.File, Line: 1, Column: 1}, file[:min(w.i, len(file))]), true
}

// index is the byte at a line and column.
func index(file string, at diag.Position) (int, bool) {
	i := 0
	for line := 1; line < at.Line; line++ {
		n := strings.IndexByte(file[i:], '\n')
		if n < 0 {
			return 0, false
		}
		i += n + 1
	}
	for column := 1; column < at.Column; column++ {
		if i >= len(file) {
			return 0, false
		}
		_, size := utf8.DecodeRuneInString(file[i:])
		i += size
	}
	return i, true
}

// skipProperties passes over a tag and an anchor.
func skipProperties(file string, i int) int {
	for i < len(file) && (file[i] == '&' || file[i] == '!') {
		for i < len(file) && !isSpace(file[i]) {
			i++
		}
		for i < len(file) && isSpace(file[i]) {
			i++
		}
	}
	return i
}

// walker moves over the source of one scalar.
type walker struct {
	src   string
	i     int
	quote byte // '"', '\'' or 0
	// rest is what is still to be matched of an escape that stands for several bytes.
	rest string
}

// open passes over a quote or a block header.
func (w *walker) open() {
	switch w.src[w.i] {
	case '"', '\'':
		w.quote = w.src[w.i]
		w.i++
	case '|', '>':
		for w.i < len(w.src) && w.src[w.i] != '\n' {
			w.i++
		}
	}
}

func (w *walker) skipSpace() {
	for w.i < len(w.src) {
		if isSpace(w.src[w.i]) {
			w.i++
			continue
		}
		if w.quote == '"' && w.src[w.i] == '\\' && w.i+1 < len(w.src) && strings.IndexByte("ntr \n\t", w.src[w.i+1]) >= 0 {
			w.i += 2
			continue
		}
		return
	}
}

// match passes over one byte of the value.
func (w *walker) match(b byte) bool {
	if w.rest == "" {
		if w.i >= len(w.src) {
			return false
		}
		w.rest = w.src[w.i : w.i+1]
		switch more := w.i+1 < len(w.src); {
		case more && w.quote == '"' && w.rest == `\`:
			w.rest, w.i = unescaped(w.src, w.i+1)
		case more && w.quote == '\'' && w.rest == `'`:
			w.i++
		}
		w.i++
	}
	c := w.rest[0]
	w.rest = w.rest[1:]
	return c == b
}

// unescaped is what an escape of YAML stands for, and its last byte; i is the byte behind the backslash.
func unescaped(src string, i int) (text string, last int) {
	digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[src[i]]
	if digits > 0 && i+digits < len(src) {
		if r, err := strconv.ParseUint(src[i+1:i+1+digits], 16, 32); err == nil {
			return string(rune(r)), i + digits
		}
	}
	if named, ok := map[byte]string{'0': "\x00", 'a': "\a", 'b': "\b", 'e': "\x1b", 'f': "\f", 'v': "\v", 'N': "\u0085", '_': "\u00a0", 'L': "\u2028", 'P': "\u2029"}[src[i]]; ok {
		return named, i
	}
	return src[i : i+1], i
}

func isSpace(b byte) bool { return b == ' ' || b == '\t' || b == '\n' || b == '\r' }
