package inventory

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
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
)

// readScript runs an inventory script with --list, and with --host for each host when the list does not
// tell the variables of hosts.
func (s *sources) readScript(path string) {
	root := s.runScript(path, "--list")
	if root == nil {
		return
	}
	var names []string // of hosts, in the order they were met
	met := map[string]bool{}
	meta := value(value(root, "_meta"), "hostvars")
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
	for _, name := range names {
		n := value(meta, name)
		if meta == nil {
			n = s.runScript(path, "--host", name)
		}
		if n != nil && len(n.Content) > 0 {
			h := s.host(name)
			h.vars = over(h.vars, vars.InventoryValues(n, path, s.problems))
		}
	}
}

// scriptGroup reads one entry of a script's list and gives the hosts it names. An entry without hosts, vars
// and children is a host with these variables.
func (s *sources) scriptGroup(path string, e pair) []string {
	at := diag.Position{File: path}
	g := s.group(e.key.Value)
	if e.value.Kind == yaml.SequenceNode {
		return s.scriptHosts(g, e.value, at)
	}
	if e.value.Kind != yaml.MappingNode {
		s.problems.Add(at, "", "the group %q must be a list of hosts or an object", g.name)
		return nil
	}
	hosts, children, own := value(e.value, "hosts"), value(e.value, "children"), value(e.value, "vars")
	if hosts == nil && children == nil && own == nil {
		h := s.host(g.name)
		h.vars = over(h.vars, vars.InventoryValues(e.value, path, s.problems))
		g.add(h)
		return []string{h.name}
	}
	if own != nil {
		yamlReader{sources: s, path: path}.groupVars(g, own)
	}
	for _, child := range texts(children) {
		if !g.adopt(s.group(child)) {
			s.problems.Add(at, "", "the group %q would be below itself", child)
		}
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
	names := texts(list)
	for _, name := range names {
		g.add(s.host(name))
	}
	return names
}

func texts(list *yaml.Node) []string {
	if list == nil {
		return nil
	}
	var out []string
	for _, n := range list.Content {
		if n.Kind == yaml.ScalarNode {
			out = append(out, n.Value)
		}
	}
	return out
}

// runScript runs a script and reads the object it prints; nil when that fails, which is reported.
func (s *sources) runScript(path string, args ...string) *yaml.Node {
	at := diag.Position{File: path}
	called := strings.Join(append([]string{filepath.Base(path)}, args...), " ")
	out, err := scriptOutput(absolute(path), args)
	if err != nil {
		s.problems.Add(at, "", "%s: %v", called, err)
		return nil
	}
	n, err := fromJSON(out)
	if err != nil || n.Kind != yaml.MappingNode {
		if err == nil {
			err = errors.New("no object")
		}
		s.problems.Add(at, "a script prints one JSON object", "%s printed no inventory: %v", called, err)
		return nil
	}
	return n
}

// scriptOutput runs a program to its end, within bounds of time and output.
func scriptOutput(path string, args []string) ([]byte, error) {
	cmd := exec.Command(path, args...)
	var out, complaint bounded
	cmd.Stdout, cmd.Stderr = &out, &complaint
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stopped := make(chan struct{})
	clock := time.AfterFunc(scriptLimit, func() {
		close(stopped)
		_ = cmd.Process.Kill() // it may just have ended by itself
	})
	err := cmd.Wait()
	if !clock.Stop() {
		<-stopped
		return nil, fmt.Errorf("took longer than %s", scriptLimit)
	}
	if err != nil {
		if last := lastLine(complaint.String()); last != "" {
			err = fmt.Errorf("%w: %s", err, last)
		}
		return nil, err
	}
	return out.Bytes(), nil
}

// bounded is a buffer that refuses to grow without end.
type bounded struct{ bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > maxScriptOutput {
		return 0, errors.New("too much output")
	}
	return b.Buffer.Write(p)
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
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
