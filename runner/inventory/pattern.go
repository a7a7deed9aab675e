package inventory

import (
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/pegbook/pegbook/runner/diag"
)

// Select gives the hosts that a pattern selects, in Ansible's order. A term that matches nothing is a
// warning in the list; a subscript outside is an error. at is where the pattern is written.
func (inv *Inventory) Select(pattern string, at diag.Position) ([]*Host, diag.List) {
	s := selector{inv: inv, at: at}
	hosts := s.selectAll(splitPattern(pattern))
	return hosts, s.problems
}

// SelectAll is Select for a list of patterns, and reads @file terms (for --limit).
func (inv *Inventory) SelectAll(patterns []string, at diag.Position) ([]*Host, diag.List) {
	s := selector{inv: inv, at: at}
	var terms []string
	for _, p := range patterns {
		for _, term := range splitPattern(p) {
			if path, ok := strings.CutPrefix(term, "@"); ok {
				terms = append(terms, s.readTerms(path)...)
			} else {
				terms = append(terms, term)
			}
		}
	}
	if s.problems.Failed() {
		return nil, s.problems
	}
	hosts := s.selectAll(terms)
	return hosts, s.problems
}

// splitPattern splits a pattern into terms: at commas, or, when it has none, at colons outside brackets.
func splitPattern(pattern string) []string {
	var parts []string
	switch {
	case strings.Contains(pattern, ","):
		parts = strings.Split(pattern, ",")
	case net.ParseIP(strings.TrimSpace(pattern)) != nil:
		parts = []string{pattern}
	default:
		depth, start := 0, 0
		for i, c := range pattern {
			switch {
			case c == '[':
				depth++
			case c == ']' && depth > 0:
				depth--
			case c == ':' && depth == 0:
				parts, start = append(parts, pattern[start:i]), i+1
			}
		}
		parts = append(parts, pattern[start:])
	}
	var terms []string
	for _, part := range parts {
		if part = strings.TrimSpace(part); part != "" {
			terms = append(terms, part)
		}
	}
	return terms
}

// selector evaluates one pattern.
type selector struct {
	inv      *Inventory
	at       diag.Position
	problems diag.List
}

// readTerms reads a file of patterns, one a line.
func (s *selector) readTerms(path string) []string {
	text, err := os.ReadFile(path)
	if err != nil {
		s.problems.Add(s.at, "", "the file of hosts cannot be read: %v", err)
		return nil
	}
	var terms []string
	for line := range strings.Lines(string(text)) {
		terms = append(terms, splitPattern(strings.TrimSpace(line))...)
	}
	return terms
}

// selectAll applies plain terms first, then all with &, then all with !, wherever they stand. Without a
// plain term the start is all hosts.
func (s *selector) selectAll(terms []string) []*Host {
	if len(terms) == 0 {
		return nil
	}
	kind := func(prefix byte) []string {
		var out []string
		for _, t := range terms {
			if t[0] == prefix {
				out = append(out, t[1:])
			}
		}
		return out
	}
	both, without := kind('&'), kind('!')
	plain := slices.DeleteFunc(slices.Clone(terms), func(t string) bool { return t[0] == '&' || t[0] == '!' })
	if len(plain) == 0 {
		plain = []string{all}
	}
	var hosts []*Host
	seen := map[*Host]bool{}
	for _, t := range plain {
		for _, h := range s.term(t) {
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

// subscript is [i], [-i], [i:], or [i:j] behind a term.
var subscript = regexp.MustCompile(`^(.+)\[(?:(-?\d+)|(\d+):(\d*))\]$`)

// term gives the hosts of one term.
func (s *selector) term(term string) []*Host {
	if term == "" {
		return nil
	}
	if h, ok := s.inv.hosts[term]; ok {
		return []*Host{h}
	}
	name, m := term, []string(nil)
	if term[0] != '~' {
		if m = subscript.FindStringSubmatch(term); m != nil {
			name = m[1]
		}
	}
	hosts := s.matches(name)
	if m == nil || len(hosts) == 0 {
		return hosts
	}
	return s.subscript(hosts, m, term)
}

// subscript picks some of a term's hosts.
func (s *selector) subscript(hosts []*Host, m []string, term string) []*Host {
	if m[2] != "" {
		i, err := strconv.Atoi(m[2])
		if i < 0 {
			i += len(hosts)
		}
		if err != nil || i < 0 || i >= len(hosts) {
			s.problems.Add(s.at, fmt.Sprintf("%s has %d, counted from 0", m[1], len(hosts)), "no host is at %q", term)
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

// matches gives the hosts of the groups that a name, glob or regular expression matches, then the hosts
// that it matches itself.
func (s *selector) matches(name string) []*Host {
	match, err := matcher(name)
	if err != nil {
		s.problems.Add(s.at, "", "%q is no pattern: %v", name, err)
		return nil
	}
	var hosts []*Host
	found := false
	if group, ok := s.inv.Group(name); ok && match == nil {
		hosts, found = group, true
	} else if match != nil {
		for _, g := range s.inv.matchingGroups(match) {
			found = true
			group, _ := s.inv.Group(g)
			hosts = append(hosts, group...)
		}
	}
	if match != nil {
		for _, h := range s.inv.Hosts() {
			if match(h.Name) {
				hosts = append(hosts, h)
			}
		}
	}
	if len(hosts) == 0 && isLocal(name) {
		h, _ := s.inv.Host(name)
		return []*Host{h}
	}
	if len(hosts) == 0 && !found && name != all {
		s.problems.Warn(s.at, diag.DidYouMean(name, s.candidates(name)), "no host or group is called %s", name)
	}
	return hosts
}

// matchingGroups are the groups whose names match, in order of definition.
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

// matcher is how a term is compared with names; nil when only equal ones match.
func matcher(term string) (func(string) bool, error) {
	if expr, ok := strings.CutPrefix(term, "~"); ok {
		re, err := regexp.Compile(`^(?:` + expr + `)`)
		if err != nil {
			return nil, err
		}
		return re.MatchString, nil
	}
	if !strings.ContainsAny(term, "*?[") {
		return nil, nil
	}
	re, err := regexp.Compile(`^(?s:` + globExpr(term) + `)$`)
	if err != nil {
		return nil, err
	}
	return re.MatchString, nil
}

// globExpr is a shell glob as a regular expression: * ? [abc] [!abc].
func globExpr(glob string) string {
	var out strings.Builder
	for i := 0; i < len(glob); i++ {
		switch glob[i] {
		case '*':
			out.WriteString(".*")
		case '?':
			out.WriteByte('.')
		case '[':
			end := strings.IndexByte(glob[i+1:], ']')
			if end <= 0 {
				out.WriteString(`\[`)
				continue
			}
			class := glob[i+1 : i+1+end]
			class = strings.ReplaceAll(class, `\`, `\\`)
			if rest, not := strings.CutPrefix(class, "!"); not {
				class = "^" + rest
			}
			out.WriteString("[" + class + "]")
			i += end + 1
		default:
			out.WriteString(regexp.QuoteMeta(glob[i : i+1]))
		}
	}
	return out.String()
}
