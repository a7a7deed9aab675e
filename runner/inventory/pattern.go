package inventory

import (
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/pegbook/pegbook/runner/diag"
)

// Select gives the hosts that a pattern selects, in Ansible's order. A term that matches nothing is a
// warning in the list; a subscript outside is an error. at is where the pattern is written.
func (inv *Inventory) Select(pattern string, at diag.Position) ([]*Host, diag.List) {
	s := selector{inv: inv}
	hosts := s.selectAll(placed(splitPattern(pattern), at))
	return hosts, s.problems
}

// SelectAll is Select for a list of patterns, and reads @file terms (for --limit).
func (inv *Inventory) SelectAll(patterns []string, at diag.Position) ([]*Host, diag.List) {
	s := selector{inv: inv}
	terms := s.withFiles(patterns, at)
	if s.problems.Failed() {
		return nil, s.problems
	}
	hosts := s.selectAll(terms)
	return hosts, s.problems
}

// withFiles are the terms of patterns, with those of files in the place of @file.
func (s *selector) withFiles(patterns []string, at diag.Position) []term {
	var terms []term
	for _, p := range patterns {
		for _, t := range placed(splitPattern(p), at) {
			if path, ok := strings.CutPrefix(t.text, "@"); ok {
				terms = append(terms, s.readTerms(path, at)...)
			} else {
				terms = append(terms, t)
			}
		}
	}
	return terms
}

// WithoutFiles gives patterns for SelectAll with what files hold now in the place of @file; nil where there is no
// such term, or one whose file cannot be read.
func WithoutFiles(patterns []string) []string {
	var s selector
	var plain strings.Builder
	files := false
	for _, p := range patterns {
		for _, t := range splitPattern(p) {
			files = files || strings.HasPrefix(t, "@")
		}
	}
	for _, t := range s.withFiles(patterns, diag.Position{}) {
		plain.WriteString(t.text + ",") // the comma keeps a term from being split any further
	}
	if !files || s.problems.Failed() {
		return nil
	}
	return []string{plain.String()}
}

// term is a part of a pattern and where it is written.
type term struct {
	text string
	at   diag.Position
}

func placed(texts []string, at diag.Position) []term {
	terms := make([]term, len(texts))
	for i, text := range texts {
		terms[i] = term{text, at}
	}
	return terms
}

// address is a name with a port, whose colon does not separate terms.
var address = regexp.MustCompile(`^[\w.-]+:\d+$`)

// splitPattern splits a pattern into terms: at commas, or, when it has none, at colons outside brackets and
// at spaces.
func splitPattern(pattern string) []string {
	trimmed := strings.TrimSpace(pattern)
	switch {
	case strings.Contains(pattern, ","):
		var terms []string
		for part := range strings.SplitSeq(pattern, ",") {
			if part = strings.TrimSpace(part); part != "" {
				terms = append(terms, part)
			}
		}
		return terms
	case net.ParseIP(strings.TrimLeft(trimmed, "!&")) != nil, address.MatchString(trimmed):
		return []string{trimmed}
	}
	depth := 0
	return strings.FieldsFunc(pattern, func(c rune) bool {
		switch {
		case c == '[':
			depth++
		case c == ']' && depth > 0:
			depth--
		}
		return depth == 0 && (c == ':' || unicode.IsSpace(c))
	})
}

// selector evaluates one pattern.
type selector struct {
	inv      *Inventory
	problems diag.List
}

// readTerms reads a file of patterns, one a line; lines that begin with # are comments.
func (s *selector) readTerms(path string, at diag.Position) []term {
	text, err := os.ReadFile(path)
	if err != nil {
		s.problems.Add(at, "@ is followed by a file with a host or pattern on each line", "the file of hosts %s cannot be read: %v", path, reason(err))
		return nil
	}
	var terms []term
	line := 0
	for words := range strings.Lines(string(text)) {
		line++
		if words = strings.TrimSpace(words); !strings.HasPrefix(words, "#") {
			terms = append(terms, placed(splitPattern(words), diag.Position{File: path, Line: line, Column: 1})...)
		}
	}
	return terms
}

// selectAll applies plain terms first, then all with &, then all with !, wherever they stand. Without a
// plain term the start is all hosts.
func (s *selector) selectAll(terms []term) []*Host {
	if len(terms) == 0 {
		return nil
	}
	var plain, both, without []term
	for _, t := range terms {
		switch t.text[0] {
		case '&':
			both = append(both, term{t.text[1:], t.at})
		case '!':
			without = append(without, term{t.text[1:], t.at})
		default:
			plain = append(plain, t)
		}
	}
	if len(plain) == 0 {
		plain = []term{{text: all}}
	}
	var hosts []*Host
	seen := map[*Host]bool{}
	for _, t := range plain {
		for _, h := range s.start(t) {
			if !seen[h] {
				seen[h] = true
				hosts = append(hosts, h)
			}
		}
	}
	for _, t := range both {
		in := set(s.term(t))
		hosts = slices.DeleteFunc(hosts, func(h *Host) bool { return !in[h] })
	}
	for _, t := range without {
		out := set(s.term(t))
		hosts = slices.DeleteFunc(hosts, func(h *Host) bool { return out[h] })
	}
	return hosts
}

func set(hosts []*Host) map[*Host]bool {
	out := make(map[*Host]bool, len(hosts))
	for _, h := range hosts {
		out[h] = true
	}
	return out
}

// start gives the hosts of a plain term: a name that is a host's means that host even if a group has it, too.
func (s *selector) start(t term) []*Host {
	if h, ok := s.inv.hosts[t.text]; ok {
		return []*Host{h}
	}
	return s.term(t)
}

// subscript is [i], [-i], [i:], or [i:j] behind a term; [i-j] is its old form.
var subscript = regexp.MustCompile(`^(.+)\[(?:(-?\d+)|(\d+)[:-](\d*))\]$`)

// term gives the hosts of one term.
func (s *selector) term(t term) []*Host {
	if t.text == "" {
		return nil
	}
	name, m := t, []string(nil)
	if t.text[0] != '~' {
		if m = subscript.FindStringSubmatch(t.text); m != nil {
			name.text = m[1]
		}
	}
	hosts := s.matches(name)
	if m == nil || len(hosts) == 0 {
		return hosts
	}
	return s.subscript(hosts, m, t)
}

// subscript picks some of a term's hosts.
func (s *selector) subscript(hosts []*Host, m []string, t term) []*Host {
	if m[2] != "" {
		i, err := strconv.Atoi(m[2])
		if i < 0 {
			i += len(hosts)
		}
		if err != nil || i < 0 || i >= len(hosts) {
			s.problems.Add(t.at, fmt.Sprintf("%s has %d, counted from 0", m[1], len(hosts)), "no host is at %q", t.text)
			return nil
		}
		return hosts[i : i+1]
	}
	from, err := strconv.Atoi(m[3])
	if err != nil || from >= len(hosts) {
		return nil
	}
	to := len(hosts) - 1
	if m[4] != "" {
		if n, err := strconv.Atoi(m[4]); err == nil {
			to = min(n, to)
		}
	}
	if to < from {
		return nil
	}
	return hosts[from : to+1]
}

// matches gives the hosts of the groups that a name, glob or regular expression matches, then, when there is
// no such group or the name could be a pattern or domain, the hosts that it matches itself.
func (s *selector) matches(t term) []*Host {
	match, err := matcher(t.text)
	if err != nil {
		s.problems.Add(t.at, "regular expressions are those of Go (RE2): what they cannot say, & and ! can", "%q is no pattern: %s", t.text, strings.TrimPrefix(err.Error(), "error parsing regexp: "))
		return nil
	}
	var hosts []*Host
	groups := s.inv.matchingGroups(match)
	for _, g := range groups {
		group, _ := s.inv.Group(g)
		hosts = append(hosts, group...)
	}
	if len(groups) == 0 || t.text[0] == '~' || strings.ContainsAny(t.text, ".?*[") {
		for _, h := range s.inv.met {
			if match(h.Name) {
				hosts = append(hosts, h)
			}
		}
	}
	if len(hosts) == 0 && isLocal(t.text) {
		h, _ := s.inv.Host(t.text)
		return []*Host{h}
	}
	if len(hosts) == 0 && len(groups) == 0 && t.text != all {
		s.problems.Warn(t.at, s.meant(t.text), "no host or group is called %s", t.text)
	}
	return hosts
}

// meant is what to write instead of a name that nothing has.
func (s *selector) meant(name string) string {
	if address.MatchString(name) {
		return "a pattern has no port; terms are separated by , or by : before a name"
	}
	return diag.DidYouMean(name, s.candidates(name))
}

// matchingGroups are the groups whose names match, in the order they were met.
func (inv *Inventory) matchingGroups(match func(string) bool) []string {
	var out []string
	for _, name := range inv.names {
		if match(name) {
			out = append(out, name)
		}
	}
	return out
}

// candidates are the names that a mistyped one may mean. Hosts are left out when there are so many that
// the search would take long.
func (s *selector) candidates(name string) []string {
	if strings.ContainsAny(name, "*?[~") {
		return nil
	}
	names := s.inv.Groups()
	if hosts := s.inv.Hosts(); len(hosts) <= 1000 {
		for _, h := range hosts {
			names = append(names, h.Name)
		}
	}
	return names
}

// matcher is how a term is compared with names.
func matcher(text string) (func(string) bool, error) {
	if expr, ok := strings.CutPrefix(text, "~"); ok {
		re, err := regexp.Compile(`^(?:` + expr + `)`)
		if err != nil {
			return nil, err
		}
		return re.MatchString, nil
	}
	if !strings.ContainsAny(text, "*?[") {
		return func(name string) bool { return name == text }, nil
	}
	re, err := regexp.Compile(`^(?s:` + globExpr(text) + `)$`)
	if err != nil {
		return nil, err
	}
	return re.MatchString, nil
}

// globExpr is a shell glob as a regular expression: * ? [abc] [!abc].
func globExpr(glob string) string {
	var out strings.Builder
	for len(glob) > 0 {
		switch glob[0] {
		case '*':
			out.WriteString(".*")
		case '?':
			out.WriteByte('.')
		case '[':
			class, rest, ok := globClass(glob)
			if ok {
				out.WriteString(class)
				glob = rest
				continue
			}
			out.WriteString(`\[`)
		default:
			out.WriteString(regexp.QuoteMeta(glob[:1]))
		}
		glob = glob[1:]
	}
	return out.String()
}

// globClass is the class that a glob begins with, and what is behind it. False: it is not closed. A ] that
// comes first belongs to the class.
func globClass(glob string) (class, rest string, ok bool) {
	body, not := strings.CutPrefix(glob[1:], "!")
	if body == "" {
		return "", "", false
	}
	end := strings.IndexByte(body[1:], ']')
	if end < 0 {
		return "", "", false
	}
	class = strings.NewReplacer(`\`, `\\`, `[`, `\[`, `]`, `\]`, `^`, `\^`).Replace(body[:end+1])
	if not {
		class = "^" + class
	}
	return "[" + class + "]", body[end+2:], true
}
