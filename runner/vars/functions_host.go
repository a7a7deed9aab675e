package vars

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/pegbook/pegbook/runner/diag"
)

// hostTable is what reaches beyond the host's own variables, and tests on registered results.
func hostTable() []tableRow {
	return []tableRow{
		{"hostvar HOST NAME", "A variable of another host, resolved as that host sees it.", raw(2, 2, hostvar), nil},
		{"hosts_in PATTERN", "The names of the hosts that a host pattern selects.", raw(1, 1, hostsIn), nil},
		{"lookup_env NAME", "A variable of the control node's environment; \"\" when it is not set.", os.Getenv, nil},
		{"lookup_file NAME", "The content of a file of the control node, without line breaks at its end.", raw(1, 1, lookupFile), nil},
		{"lookup_template NAME", "A template file of the control node, rendered with this host's variables.", raw(1, 1, lookupTemplate), nil},
		{"succeeded RESULT", "Whether a registered task neither failed nor found the host unreachable.", resultTest(func(r result) (bool, error) { return not2(r.either("failed", "unreachable")) }), nil},
		{"failed RESULT", "Whether a registered task failed.", resultTest(func(r result) (bool, error) { return r.is("failed") }), nil},
		{"changed RESULT", "Whether a registered task, or an item of its loop, changed something.", resultTest(result.changed), nil},
		{"skipped RESULT", "Whether a registered task was skipped.", resultTest(func(r result) (bool, error) { return r.is("skipped") }), nil},
		{"unreachable RESULT", "Whether a registered task could not reach the host.", resultTest(func(r result) (bool, error) { return r.is("unreachable") }), nil},
	}
}

// refusedFunctions are sprig's that pegbook leaves out, and what to do instead.
func refusedFunctions() map[string]string {
	out := map[string]string{
		"env":       "use lookup_env",
		"expandenv": "use lookup_env",
		"call":      "variables hold no functions",
		"include":   `use {{ template "name" . }} or lookup_template`,
		"tpl":       "variables are templates already: use the variable itself",
		"gte":       "use ge",
		"lte":       "use le",
		"neq":       "use ne",
	}
	const key = "make keys and certificates once, with a command or a module, and keep them in a file or a vault"
	for _, name := range []string{"genPrivateKey", "genCA", "genCAWithKey", "genSelfSignedCert", "genSelfSignedCertWithKey",
		"genSignedCert", "genSignedCertWithKey", "buildCustomCert"} {
		out[name] = key
	}
	for _, name := range []string{"encryptAES", "decryptAES"} {
		out[name] = "encrypt values with pegbook vault encrypt-string"
	}
	for name, instead := range ansibleFilters() {
		out[name] = instead
	}
	out["getHostByName"] = "use the facts of the hosts, such as .hostvars.NAME.ansible_host"
	out["hello"] = `write "Hello!"`
	return out
}

// ansibleFilters are filters and functions of Ansible that have no name of their own here, with what to write.
func ansibleFilters() map[string]string {
	const each = "range over the list, or loop over it and choose with when"
	return map[string]string{
		"dict2items":   "loop over keys MAPPING: the item is a key, and index .mapping .item its value",
		"items2dict":   "write the mapping itself, or make it with dict KEY VALUE",
		"combine":      "use mergeOverwrite LOW HIGH",
		"union":        "use concat A B | uniq",
		"selectattr":   each,
		"rejectattr":   each,
		"subelements":  "include a file in a loop, and loop in that file",
		"lookup":       "use lookup_file, lookup_env or lookup_template",
		"query":        "use lookup_file, lookup_env or lookup_template",
		"to_json":      "use toRawJson",
		"to_nice_json": "use toPrettyJson",
		"to_yaml":      "use toYAML",
		"to_nice_yaml": "use toYAML",
		"from_json":    "use fromJson",
		"from_yaml":    "use fromYAML",
		"b64encode":    "use b64enc",
		"b64decode":    "use b64dec",
		"mandatory":    "leave it out: a missing variable is an error",
	}
}

func argText(args []any, i int) (string, error) {
	text, ok := args[i].(string)
	if !ok {
		return "", &argumentError{index: i, problem: "wants a string, not " + describe(args[i])}
	}
	return text, nil
}

var errNoWorld = errors.New("other hosts and files cannot be reached here")

// world is what the scope can reach.
func (c *call) world() (World, error) {
	c.frame.trail.touch()
	if w := c.frame.scope.world; w != nil {
		return w, nil
	}
	return nil, errNoWorld
}

func hostvar(c *call, args []any) (any, error) {
	host, err := argText(args, 0)
	if err != nil {
		return nil, err
	}
	name, err := argText(args, 1)
	if err != nil {
		return nil, err
	}
	c.frame.scope.uses("hostvars")
	w, err := c.world()
	if err != nil {
		return nil, err
	}
	scope, ok := w.HostScope(host)
	if !ok {
		return nil, &argumentError{0, fmt.Sprintf("no host is called %q", host) + near(host, w.HostNames()), ErrUndefined}
	}
	v, ok, err := scope.lookup(name, c.frame.trail.abroad())
	if err == nil && !ok {
		return nil, &argumentError{1, fmt.Sprintf("variable %q is not defined for host %s", name, host) + near(name, scope.Names()), ErrUndefined}
	}
	return v, err
}

func near(name string, names []string) string {
	if hint := diag.Nearest(name, names); hint != "" {
		return fmt.Sprintf(": did you mean %q?", hint)
	}
	return ""
}

func hostsIn(c *call, args []any) (any, error) {
	pattern, err := argText(args, 0)
	if err != nil {
		return nil, err
	}
	w, err := c.world()
	if err != nil {
		return nil, err
	}
	names, err := w.Select(pattern)
	if err != nil {
		return nil, err
	}
	return normal(names)
}

func readFile(c *call, args []any) (name, text string, err error) {
	if name, err = argText(args, 0); err != nil {
		return "", "", err
	}
	w, err := c.world()
	if err != nil {
		return "", "", err
	}
	raw, err := w.ReadFile(name)
	return name, string(raw), err
}

func lookupFile(c *call, args []any) (any, error) {
	_, text, err := readFile(c, args)
	return strings.TrimRight(text, "\r\n"), err
}

func lookupTemplate(c *call, args []any) (any, error) {
	name, text, err := readFile(c, args)
	if err != nil {
		return nil, err
	}
	if c.frame.trail.rendering(name) {
		return nil, fmt.Errorf("template %s renders itself", name)
	}
	t, problems := parseTemplate(c.frame.prog.lib, name, text, [2]string{})
	if t == nil {
		return nil, problems
	}
	return t.render(c.frame.scope, c.frame.trail.into(name))
}

// into marks that a template file is being rendered. File names contain what variable names cannot, so
// the two do not meet.
func (t *trail) into(file string) *trail {
	return t.next(nil, "file "+file)
}

func (t *trail) rendering(file string) bool {
	for ; t != nil; t = t.before {
		if t.name == "file "+file {
			return true
		}
	}
	return false
}

// result is a registered result.
type result struct {
	c *call
	v any
}

// resultTest is a test on a registered result, of which a part may be unknown.
func resultTest(test func(result) (bool, error)) *function {
	return lazily(1, 1, func(c *call, args []any) (any, error) {
		switch args[0].(type) {
		case map[string]any, *unknown:
			return test(result{c, args[0]})
		}
		return nil, &argumentError{index: 0, problem: "wants a registered result, not " + describe(args[0])}
	})
}

func (r result) is(field string) (bool, error) {
	v, _, err := r.c.frame.get(r.v, field)
	if _, blind := v.(*unknown); blind && err == nil {
		err = ErrUnknown
	}
	return truth(v), err
}

func (r result) either(a, b string) (bool, error) {
	if yes, err := r.is(a); yes || err != nil {
		return yes, err
	}
	return r.is(b)
}

func (r result) changed() (bool, error) {
	v, ok, err := r.c.frame.get(r.v, "changed")
	if _, blind := v.(*unknown); blind && err == nil {
		err = ErrUnknown
	}
	if ok || err != nil {
		return truth(v), err
	}
	results, _, err := r.c.frame.get(r.v, "results")
	list, _ := results.([]any)
	for _, item := range list {
		yes, err := (result{r.c, item}).is("changed")
		if yes || err != nil {
			return yes, err
		}
	}
	return false, err
}

func not2(b bool, err error) (bool, error) { return !b, err }
