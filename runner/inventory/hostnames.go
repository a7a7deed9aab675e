package inventory

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"

	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/vars"
)

// maxRange bounds what one host name with ranges stands for.
const maxRange = 100_000

var (
	bracketedIP = regexp.MustCompile(`^\[([0-9A-Fa-f:.]+)\](?::(\d+))?$`)
	bracketed   = regexp.MustCompile(`^\[([^\[\]:]+)\]:(\d+)$`)
	withPort    = regexp.MustCompile(`^((?:[^:\[\]]|\[[^\]]*\])+):(\d+)$`)
	oneRange    = regexp.MustCompile(`^([^\[\]]*)\[([^\[\]]*)\](.*)$`)
)

// addHosts puts the hosts that a name with ranges stands for into a group, with the same variables each.
func (s *sources) addHosts(g *group, text string, v *vars.Values, at diag.Position) {
	if strings.Contains(text, "{{") {
		s.problems.Add(at, "write the name itself, or a range such as web[01:20]; variables can be used in ansible_host", "%q: the name of a host cannot be a template", text)
		return
	}
	name, port := splitPort(text)
	names, err := expand(name)
	if err != nil {
		s.problems.Add(at, "ranges are [1:9], [01:99], [a:z] or [0:100:10]", "%q: %v", text, err)
		return
	}
	fresh := v
	if port != "" {
		n, err := strconv.Atoi(port)
		if err != nil || n > 65535 {
			s.problems.Add(at, "ports are numbers up to 65535", "%q: %s is no port", text, port)
			return
		}
		fresh = over(vars.ValuesOf(map[string]vars.Data{"ansible_port": vars.Of(n)}), v)
	}
	for _, name := range names {
		own := v
		if _, known := s.hosts[name]; !known {
			own = fresh // the port behind a name counts at its first mention
		}
		h := s.host(name, at)
		if own.Len() > 0 {
			h.vars = append(h.vars, own)
		}
		g.add(h)
	}
}

// splitPort splits "host:port" and "[::1]:port".
func splitPort(text string) (name, port string) {
	if m := bracketedIP.FindStringSubmatch(text); m != nil && net.ParseIP(m[1]) != nil {
		return m[1], m[2]
	}
	if net.ParseIP(text) != nil {
		return text, ""
	}
	if m := bracketed.FindStringSubmatch(text); m != nil {
		return m[1], m[2]
	}
	if m := withPort.FindStringSubmatch(text); m != nil {
		return m[1], m[2]
	}
	return text, ""
}

// expand gives the names that one with ranges stands for: the leftmost range is the slowest.
func expand(name string) ([]string, error) {
	m := oneRange.FindStringSubmatch(name)
	if m == nil {
		if name == "" {
			return nil, errors.New("the name is empty")
		}
		if strings.ContainsAny(name, "[]") {
			return nil, errors.New("a bracket is not closed")
		}
		return []string{name}, nil
	}
	middle, err := span(m[2])
	if err != nil {
		return nil, err
	}
	tails := []string{""}
	if m[3] != "" {
		if tails, err = expand(m[3]); err != nil {
			return nil, err
		}
	}
	if len(middle)*len(tails) > maxRange {
		return nil, fmt.Errorf("more than %d hosts", maxRange)
	}
	out := make([]string, 0, len(middle)*len(tails))
	for _, part := range middle {
		for _, tail := range tails {
			out = append(out, m[1]+part+tail)
		}
	}
	return out, nil
}

// span expands first:last:step.
func span(text string) ([]string, error) {
	parts := strings.Split(text, ":")
	if len(parts) < 2 || len(parts) > 3 {
		return nil, fmt.Errorf("a range has two ends and perhaps a step, not %q", text)
	}
	step := 1
	if len(parts) == 3 {
		n, err := strconv.Atoi(parts[2])
		if err != nil || n < 1 {
			return nil, fmt.Errorf("the step of a range is a positive number, not %q", parts[2])
		}
		step = n
	}
	first, last := parts[0], parts[1]
	if first == "" {
		first = "0"
	}
	if last == "" {
		return nil, fmt.Errorf("the range %q has no end", text)
	}
	if isLetter(first) && isLetter(last) {
		return letters(first[0], last[0], step)
	}
	return numbers(first, last, step)
}

func isLetter(s string) bool {
	return len(s) == 1 && (s[0] >= 'a' && s[0] <= 'z' || s[0] >= 'A' && s[0] <= 'Z')
}

func letters(first, last byte, step int) ([]string, error) {
	const alphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	from, to := strings.IndexByte(alphabet, first), strings.IndexByte(alphabet, last)
	if from > to {
		return nil, fmt.Errorf("the range from %c to %c is empty", first, last)
	}
	var out []string
	for i := from; i <= to; i += min(step, len(alphabet)) {
		out = append(out, alphabet[i:i+1])
	}
	return out, nil
}

// numbers counts from first to last; a leading zero fixes the width.
func numbers(first, last string, step int) ([]string, error) {
	a, errA := strconv.Atoi(first)
	b, errB := strconv.Atoi(last)
	if errA != nil || errB != nil || a < 0 || b < 0 {
		return nil, fmt.Errorf("the ends of a range are numbers or single letters, not %q and %q", first, last)
	}
	width := 0
	if len(first) > 1 && first[0] == '0' {
		width = len(first)
		if len(last) != width {
			return nil, fmt.Errorf("with a leading zero both ends need the same width, not %q and %q", first, last)
		}
	}
	if a > b {
		return nil, fmt.Errorf("the range from %d to %d is empty", a, b)
	}
	if (b-a)/step >= maxRange {
		return nil, fmt.Errorf("more than %d hosts", maxRange)
	}
	var out []string
	for n := a; n <= b; n += step {
		out = append(out, fmt.Sprintf("%0*d", width, n))
	}
	return out, nil
}
