package inventory

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/vars"
)

const (
	// scriptLimit is how long a script may take; those that ask a cloud for thousands of machines take
	// tens of seconds.
	scriptLimit = 3 * time.Minute
	// maxScriptOutput bounds what a script prints.
	maxScriptOutput = 256 << 20
	// scriptsAtOnce is how many run side by side when each host is asked for by its own.
	scriptsAtOnce = 8
)

// readScript runs an inventory script with --list, and with --host for each host when the list does not
// tell the variables of hosts. All of that must end within the limit.
func (s *sources) readScript(ctx context.Context, path string) {
	ctx, stop := context.WithTimeoutCause(ctx, s.limit, fmt.Errorf("took longer than %s", s.limit))
	defer stop()
	root, d := s.runScript(ctx, path, "--list")
	if d != nil {
		*s.problems = append(*s.problems, *d)
		return
	}
	var names []string // of hosts, in the order they were met
	met := map[string]bool{}
	for _, e := range pairs(root) {
		if e.key.Value == "_meta" {
			continue
		}
		for _, name := range s.scriptGroup(path, e) {
			if !met[name] {
				met[name] = true
				names = append(names, name)
			}
		}
	}
	meta := value(value(root, "_meta"), "hostvars")
	if meta == nil || isNull(meta) {
		s.askForHosts(ctx, path, names)
		return
	}
	for _, e := range pairs(meta) {
		if !met[e.key.Value] {
			s.problems.Warn(diag.Position{File: path}, "name it in the hosts of a group", "_meta has variables of %q, which is in no group", e.key.Value)
			continue
		}
		s.scriptHost(path, e.key.Value, e.value)
	}
}

// askForHosts runs the script once for each host. The first failure is the only one that is told: the others
// are most likely the same.
func (s *sources) askForHosts(ctx context.Context, path string, names []string) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	answers, faults := make([]*yaml.Node, len(names)), make([]*diag.Diagnostic, len(names))
	var wait sync.WaitGroup
	slots := make(chan struct{}, scriptsAtOnce)
	for i, name := range names {
		slots <- struct{}{}
		if ctx.Err() != nil {
			break
		}
		wait.Go(func() {
			defer func() { <-slots }()
			if answers[i], faults[i] = s.runScript(ctx, path, "--host", name); faults[i] != nil {
				stop()
			}
		})
	}
	wait.Wait()
	if d := firstFault(faults); d != nil {
		*s.problems = append(*s.problems, *d)
		return
	}
	for i, name := range names {
		s.scriptHost(path, name, answers[i])
	}
}

// firstFault is the first that is no consequence of another.
func firstFault(faults []*diag.Diagnostic) *diag.Diagnostic {
	var first *diag.Diagnostic
	for _, d := range faults {
		if d != nil && (first == nil || strings.HasSuffix(first.Problem, context.Canceled.Error())) {
			first = d
		}
	}
	return first
}

// scriptHost takes the variables of a host.
func (s *sources) scriptHost(path, name string, n *yaml.Node) {
	switch {
	case n == nil || isNull(n) || len(n.Content) == 0 && n.Kind == yaml.MappingNode:
	case n.Kind != yaml.MappingNode:
		s.problems.Add(diag.Position{File: path}, "the script prints an object of variables for each host", "the variables of %q must be an object", name)
	default:
		h := s.host(name, diag.Position{File: path})
		h.vars = append(h.vars, vars.InventoryValues(n, path, s.problems))
	}
}

// scriptGroup reads one entry of a script's list and gives the hosts it names. An entry without hosts, vars
// and children is a host with these variables.
func (s *sources) scriptGroup(path string, e pair) []string {
	at := diag.Position{File: path}
	g := s.group(e.key.Value, at)
	if e.value.Kind == yaml.SequenceNode {
		return s.scriptHosts(g, e.value, at)
	}
	if e.value.Kind != yaml.MappingNode {
		s.problems.Add(at, `write {"hosts": [...], "vars": {...}, "children": [...]}`, "the group %q must be a list of hosts or an object", g.name)
		return nil
	}
	hosts, children, own := value(e.value, "hosts"), value(e.value, "children"), value(e.value, "vars")
	if hosts == nil && children == nil && own == nil {
		h := s.host(g.name, at)
		s.scriptHost(path, h.name, e.value)
		g.add(h)
		return []string{h.name}
	}
	if own != nil {
		yamlReader{sources: s, path: path}.groupVars(g, own)
	}
	for _, child := range s.scriptNames(children, at) {
		s.below(g, s.group(child, at), at)
	}
	if hosts == nil {
		return nil
	}
	return s.scriptHosts(g, hosts, at)
}

func (s *sources) scriptHosts(g *group, list *yaml.Node, at diag.Position) []string {
	if list.Kind != yaml.SequenceNode {
		s.problems.Add(at, "", "the hosts of %q must be a list", g.name)
		return nil
	}
	names := s.scriptNames(list, at)
	for _, name := range names {
		g.add(s.host(name, at))
	}
	return names
}

// scriptNames are the names in a list, if there is one.
func (s *sources) scriptNames(list *yaml.Node, at diag.Position) []string {
	if list == nil {
		return nil
	}
	var out []string
	for _, n := range list.Content {
		if n.Kind != yaml.ScalarNode || n.Tag != "!!str" || n.Value == "" {
			s.problems.Add(at, "names of hosts and groups are texts", "a list of names holds what is no name: %s", orType(n))
			continue
		}
		out = append(out, n.Value)
	}
	return out
}

// orType is a scalar as written, or what else it is.
func orType(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "an object"
	case yaml.SequenceNode:
		return "a list"
	}
	return strconv.Quote(n.Value)
}

// runScript runs a script and reads the object it prints.
func (r reader) runScript(ctx context.Context, path string, args ...string) (*yaml.Node, *diag.Diagnostic) {
	called := strings.Join(append([]string{filepath.Base(path)}, args...), " ")
	out, err := scriptOutput(ctx, absolute(path), args)
	if err != nil {
		return nil, &diag.Diagnostic{Position: diag.Position{File: path}, Problem: fmt.Sprintf("%s: %v", called, err), Hint: "run it by hand to see what it says"}
	}
	r.tell(strings.Join(append([]string{path}, args...), " "), out)
	if len(bytes.TrimSpace(out)) == 0 && args[0] == "--host" {
		return nil, nil
	}
	n, err := fromJSON(out)
	if err != nil || n.Kind != yaml.MappingNode {
		if err == nil {
			err = errors.New("no object")
		}
		if errors.Is(err, io.EOF) {
			err = errors.New("nothing")
		}
		return nil, &diag.Diagnostic{Position: diag.Position{File: path}, Problem: fmt.Sprintf("%s printed no inventory: %v", called, err), Hint: "a script prints one JSON object"}
	}
	return n, nil
}

// scriptOutput runs a program to its end, within bounds of time and output. What it started is ended with it.
func scriptOutput(ctx context.Context, path string, args []string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, path, args...)
	var out, complaint bounded
	cmd.Stdout, cmd.Stderr = &out, &complaint
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case err == nil:
		return out.Bytes(), nil
	}
	if last := lastLines(complaint.String()); last != "" {
		err = fmt.Errorf("%w: %s", err, last)
	}
	return nil, err
}

// bounded is a buffer that refuses to grow without end.
type bounded struct{ bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > maxScriptOutput {
		return 0, errors.New("too much output")
	}
	return b.Buffer.Write(p)
}

// lastLines are the last three lines of a complaint: a traceback ends in what is wrong.
func lastLines(text string) string {
	var last []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			last = append(last, line)
		}
	}
	return strings.Join(last[max(0, len(last)-3):], " / ")
}

// fromJSON reads JSON into nodes, keeping the order of keys. The YAML parser would do for most JSON, but
// not for escaped pairs of UTF-16.
func fromJSON(text []byte) (*yaml.Node, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	n, err := jsonValue(dec, 0)
	if err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more behind the first value")
	}
	return n, nil
}

func jsonValue(dec *json.Decoder, depth int) (*yaml.Node, error) {
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	if depth > 1000 {
		return nil, errors.New("nested too deeply")
	}
	switch t := token.(type) {
	case json.Delim:
		n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		if t == '{' {
			n.Kind, n.Tag = yaml.MappingNode, "!!map"
		}
		for dec.More() {
			item, err := jsonValue(dec, depth+1)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, item)
		}
		if _, err := dec.Token(); err != nil {
			return nil, err
		}
		if t == '{' {
			return lastWins(n), nil
		}
		return n, nil
	case string:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Style: yaml.DoubleQuotedStyle, Value: t}, nil
	case json.Number:
		return jsonNumber(t), nil
	case bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: strconv.FormatBool(t)}, nil
	default:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}, nil
	}
}

func jsonNumber(n json.Number) *yaml.Node {
	if _, err := n.Int64(); err == nil {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: n.String()}
	}
	f, err := n.Float64()
	if err != nil {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Style: yaml.DoubleQuotedStyle, Value: n.String()}
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!float", Value: plainFloat(f)}
}
