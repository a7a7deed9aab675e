package playbook

import (
	"path"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/vars"
)

// Lock is what is held while a play runs: a node in ZooKeeper, or a file, on the control node or on a host.
type Lock struct {
	At diag.Position
	// Path is the node, or the file on Host. Empty text is no lock.
	Path vars.Value
	// Servers are ZooKeeper's; not given: those of the variable lock_zookeeper. Timeout is the session's, Auth
	// user:password, Via the host through which ZooKeeper is reached.
	Servers, Timeout, Auth, Via vars.Value
	// File is a file of the control node.
	File vars.Value
	// Host is a managed host, or a pattern, whose first host is meant.
	Host vars.Value
}

// Values are what is written about the lock.
func (l *Lock) Values() []vars.Value {
	if l == nil {
		return nil
	}
	var all []vars.Value
	for _, v := range []vars.Value{l.Path, l.Servers, l.Timeout, l.Auth, l.Via, l.File, l.Host} {
		if !v.IsZero() {
			all = append(all, v)
		}
	}
	return all
}

// lockHint shows the forms of a lock.
const lockHint = "write lock: /path/in/zookeeper, or {zookeeper: servers, path: node}, or {file: path}, or {host: name, path: file}"

// lock reads what a play holds.
func (r *reader) lock(e entry, p *place) *Lock {
	l := &Lock{At: p.at(e.key)}
	switch {
	case isNull(e.value):
		return nil
	case e.value.Kind == yaml.ScalarNode:
		l.Path = r.value(e, p, isNode)
		return l
	case e.value.Kind != yaml.MappingNode:
		r.problems.Add(p.at(e.value), lockHint, "lock takes a path or a mapping, not %s", describe(e.value))
		return nil
	}
	for _, k := range pairs(e.value) {
		switch k.name() {
		case "path":
			l.Path = r.value(k, p, isNode)
		case "zookeeper":
			l.Servers = r.value(k, p, isServers)
		case "timeout":
			l.Timeout = r.value(k, p, isDuration)
		case "auth":
			l.Auth = r.value(k, p, isText)
		case "via":
			l.Via = r.value(k, p, isText)
		case "file":
			l.File = r.value(k, p, isText)
		case "host":
			l.Host = r.value(k, p, isText)
		default:
			r.unknownKey(k, p, "lock", keysOf("lock"))
		}
	}
	return r.oneLock(l, e, p)
}

// oneLock refuses a lock that would be several, or none.
func (r *reader) oneLock(l *Lock, e entry, p *place) *Lock {
	given := func(name string) bool { return find(e.value, name) != nil }
	var kinds []string
	for _, name := range []string{"zookeeper", "file", "host"} {
		if given(name) {
			kinds = append(kinds, name)
		}
	}
	refuse := func(format string, args ...any) *Lock {
		r.problems.Add(l.At, lockHint, format, args...)
		return nil
	}
	switch {
	case len(kinds) > 1:
		return refuse("a lock has one place, not %s", strings.Join(kinds, " and "))
	case given("file") && given("path"):
		return refuse("a lock on a file of the control node has no path besides")
	case !given("file") && !given("path"):
		return refuse("the lock has no path")
	}
	for _, name := range []string{"timeout", "auth", "via"} {
		if given(name) && (given("file") || given("host")) {
			return refuse("%s is for locks in ZooKeeper", name)
		}
	}
	return l
}

// isNode is a path from the root, or nothing.
func isNode(d vars.Data) string {
	text := d.Text()
	if isText(d) != "" || text != "" && (!strings.HasPrefix(text, "/") || path.Clean(text) != text || text == "/") {
		return "a path from the root such as /pegbook/locks/mycluster"
	}
	return ""
}

func isServers(d vars.Data) string {
	items, ok := d.List()
	if !ok {
		return isText(d)
	}
	for _, item := range items {
		if isText(item) != "" {
			return "servers, host:port each"
		}
	}
	return ""
}

func isDuration(d vars.Data) string {
	if t, err := modules.ParseDuration(d.Text()); err != nil || t <= 0 {
		return "a time such as 10s"
	}
	return ""
}
