// Package secret is what a run must not show: the texts, and how they are masked wherever they come up.
//
// A secret is added once, when it becomes known, and is masked from then on in everything that is shown, also
// in the forms that shells, JSON, URLs and base 64 give it. What is carried out is never changed. Masking is
// by text: a secret that a command has transformed otherwise (encrypted, cut into pieces, spelt backwards) is
// not recognised.
package secret

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unicode"
	"unicode/utf8"
)

// Mask stands in place of a secret.
const Mask = "********"

const (
	// least is how long a secret must be to be hidden inside of words: a shorter one is hidden where it
	// stands alone, since hiding every "a" would tell more than it hides.
	least = 4
	// leastLine is how long a line of a secret of several lines must be to be a secret by itself.
	leastLine = 8
	// mostWhole is up to where a secret of several lines is hidden as a whole, too.
	mostWhole = 4 << 10
)

// Set is the secrets of a run. The zero value has none; a nil *Set neither has nor takes any. It is safe for
// concurrent use, and costs next to nothing where there is no secret.
type Set struct {
	some atomic.Bool

	mu    sync.RWMutex // guards the fields below
	added map[string]bool
	// forms are every form of every secret of at least four bytes, by its first four, longest first. filter has
	// a bit for each such beginning, so that most of a text is passed over without a look into the map.
	forms   map[uint32][]string
	filter  [1 << 10]uint64
	longest int
	short   []string // longest first
}

// Add makes texts secret, from now on. Empty ones, truth values and null are no secrets: hiding every "true" would tell
// more than it hides.
func (s *Set) Add(texts ...string) {
	if s == nil {
		return
	}
	for _, text := range texts {
		if !common(text) && !s.has(text) {
			s.add(text)
		}
	}
}

// Empty says whether nothing is secret.
func (s *Set) Empty() bool { return s == nil || !s.some.Load() }

func (s *Set) has(text string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.added[text]
}

func (s *Set) add(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.added == nil {
		s.added, s.forms = map[string]bool{}, map[uint32][]string{}
	}
	s.added[text] = true
	for _, part := range parts(text) {
		if len(part) < least {
			s.addShort(part)
			continue
		}
		for _, form := range formsOf(part) {
			s.addForm(form)
		}
	}
	s.some.Store(true)
}

func (s *Set) addShort(text string) {
	if strings.IndexFunc(text, wordRune) < 0 || slices.Contains(s.short, text) {
		return // a "-" or "*" by itself is everywhere
	}
	s.short = append(s.short, text)
	slices.SortFunc(s.short, func(a, b string) int { return len(b) - len(a) })
}

func (s *Set) addForm(form string) {
	key := beginning(form)
	list := s.forms[key]
	if slices.Contains(list, form) {
		return
	}
	at, _ := slices.BinarySearchFunc(list, len(form), func(have string, n int) int { return n - len(have) })
	s.forms[key] = slices.Insert(list, at, form)
	bit := hash(key)
	s.filter[bit>>6] |= 1 << (bit & 63)
	s.longest = max(s.longest, len(form))
}

// common says whether a text is one that cannot be a secret.
func common(text string) bool {
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "", "true", "false", "yes", "no", "on", "off", "null", "none", "~", Mask:
		return true
	}
	return false
}

// parts are what is hidden of a secret: the whole of it, and the lines of one that has several, since commands
// show them one by one.
func parts(text string) []string {
	whole := strings.TrimSpace(text)
	lines := strings.Contains(whole, "\n")
	var out []string
	if !lines || len(text) <= mostWhole {
		out = append(out, text)
	}
	if !lines {
		return append(out, whole)
	}
	for line := range strings.SplitSeq(whole, "\n") {
		if line = strings.TrimSpace(line); len(line) >= leastLine && !common(line) {
			out = append(out, line)
		}
	}
	return out
}

func beginning(text string) uint32 {
	return uint32(text[0]) | uint32(text[1])<<8 | uint32(text[2])<<16 | uint32(text[3])<<24
}

// hash spreads four bytes over the bits of the filter.
func hash(key uint32) uint32 { return key * 0x9E3779B1 >> 16 }

// Text gives a text in which secrets are masked; the text itself where it holds none.
func (s *Set) Text(text string) string {
	if s.Empty() || text == "" {
		return text
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.text(text)
}

func (s *Set) text(text string) string {
	text = s.long(text)
	for _, secret := range s.short {
		text = alone(text, secret)
	}
	return text
}

// long masks the secrets that are hidden inside of words. Secrets that overlap are masked together, so that none
// leaves the rest of another behind.
func (s *Set) long(text string) string {
	var out strings.Builder
	last, end := 0, 0 // what is written up to; where the secret that has been found ends
	start := 0
	flush := func() {
		if end > last {
			out.WriteString(text[last:start])
			out.WriteString(Mask)
			last = end
		}
	}
	for i := s.next(text, 0); i >= 0; i = s.next(text, i+1) {
		n := s.at(text, i)
		if n == 0 {
			continue
		}
		if i >= end {
			flush()
			start = i
		}
		end = max(end, i+n)
	}
	flush()
	if last == 0 {
		return text
	}
	out.WriteString(text[last:])
	return out.String()
}

// next is the first byte from i on where a secret may begin; -1 for none.
func (s *Set) next(text string, i int) int {
	if i+least > len(text) {
		return -1
	}
	key := beginning(text[i:])
	for {
		if bit := hash(key); s.filter[bit>>6]&(1<<(bit&63)) != 0 {
			return i
		}
		i++
		if i+least > len(text) {
			return -1
		}
		key = key>>8 | uint32(text[i+least-1])<<24
	}
}

// at is how long the secret is that begins at a byte of a text; 0 for none. One that a shortened text breaks
// off within counts up to there.
func (s *Set) at(text string, i int) int {
	rest := text[i:]
	key := beginning(rest)
	for _, form := range s.forms[key] {
		if strings.HasPrefix(rest, form) {
			return len(form)
		}
	}
	if len(s.forms[key]) == 0 {
		return 0
	}
	cut := strings.Index(rest[:min(len(rest), s.longest+len(ellipsis))], ellipsis)
	for _, form := range s.forms[key] {
		if cut >= least && strings.HasPrefix(form, rest[:cut]) {
			return cut
		}
	}
	return 0
}

// ellipsis is what stands where a message was shortened.
const ellipsis = "…"

// alone masks a short secret where no letter or digit stands beside it.
func alone(text, secret string) string {
	if !strings.Contains(text, secret) {
		return text
	}
	var out strings.Builder
	for {
		i := strings.Index(text, secret)
		if i < 0 {
			out.WriteString(text)
			return out.String()
		}
		before, _ := utf8.DecodeLastRuneInString(text[:i])
		after, _ := utf8.DecodeRuneInString(text[i+len(secret):])
		out.WriteString(text[:i])
		if wordRune(before) || wordRune(after) {
			out.WriteString(secret)
		} else {
			out.WriteString(Mask)
		}
		text = text[i+len(secret):]
	}
}

func wordRune(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

// JSON gives JSON in which secrets are masked, in texts and in numbers. It stays JSON: a number that holds a
// secret becomes a text.
func (s *Set) JSON(raw json.RawMessage) json.RawMessage {
	if s.Empty() || len(raw) == 0 {
		return raw
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if !s.within(string(raw)) {
		return raw
	}
	var out bytes.Buffer
	for i := 0; i < len(raw); {
		n := token(raw[i:])
		part := raw[i : i+n]
		i += n
		switch c := part[0]; {
		case c == '"':
			out.Write(s.quoted(part, isKey(raw[i:])))
		case c == '-' || c >= '0' && c <= '9':
			out.Write(s.number(part))
		default:
			out.Write(part)
		}
	}
	return out.Bytes()
}

// within says whether there is anything to mask in JSON: what JSON makes of a secret is one of its forms.
func (s *Set) within(raw string) bool {
	for i := s.next(raw, 0); i >= 0; i = s.next(raw, i+1) {
		if s.at(raw, i) > 0 {
			return true
		}
	}
	return slices.ContainsFunc(s.short, func(secret string) bool { return strings.Contains(raw, escaped(secret)) })
}

// token is how long the string, number, or run of anything else is that begins a piece of JSON.
func token(raw []byte) int {
	switch c := raw[0]; {
	case c == '"':
		for i := 1; i < len(raw); i++ {
			switch raw[i] {
			case '\\':
				i++
			case '"':
				return i + 1
			}
		}
		return len(raw)
	case c == '-' || c >= '0' && c <= '9':
		n := 1
		for n < len(raw) && strings.IndexByte("+-.0123456789eE", raw[n]) >= 0 {
			n++
		}
		return n
	}
	n := 1
	for n < len(raw) && raw[n] != '"' && raw[n] != '-' && (raw[n] < '0' || raw[n] > '9') {
		n++
	}
	return n
}

func isKey(behind []byte) bool {
	behind = bytes.TrimLeft(behind, " \t\r\n")
	return len(behind) > 0 && behind[0] == ':'
}

// quoted masks a JSON text. Keys keep short secrets: there they are names that every result has.
func (s *Set) quoted(raw []byte, key bool) []byte {
	var text string
	if json.Unmarshal(raw, &text) != nil {
		return []byte(s.text(string(raw)))
	}
	shown := s.long(text)
	if !key {
		shown = s.text(text)
	}
	if shown == text {
		return raw
	}
	return []byte(`"` + escaped(shown) + `"`)
}

func (s *Set) number(raw []byte) []byte {
	text := string(raw)
	if s.long(text) != text || slices.Contains(s.short, text) {
		return []byte(`"` + Mask + `"`)
	}
	return raw
}

// escaped is a text as it stands between the quotes of JSON.
func escaped(text string) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(text); err != nil {
		panic("secret: a text that JSON cannot hold: " + err.Error())
	}
	return string(b.Bytes()[1 : b.Len()-2])
}
