package runner

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/zksession"
	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/inventory"
	"github.com/pegbook/pegbook/runner/vars"
)

// lockServers is the variable that says where ZooKeeper is, for locks that do not say it themselves.
const lockServers = "lock_zookeeper"

// lockSpec is a play's lock as its variables make it.
type lockSpec struct {
	at diag.Position
	// One of the three: a node of ZooKeeper with its servers, a file here, a file on a host.
	node, file, onHost string

	servers   []string
	timeout   time.Duration
	auth      string
	via, host string // names of hosts; "" none

	// serversFrom is the variable that the servers come from, with its place; viaFrom the one that via is. "": none.
	serversFrom, viaFrom string
}

// String names the lock.
func (l *lockSpec) String() string {
	switch {
	case l.file != "":
		return "file " + l.file
	case l.onHost != "":
		return fmt.Sprintf("file %s on %s", l.onHost, l.host)
	}
	text := fmt.Sprintf("%s in ZooKeeper (%s", l.node, strings.Join(l.servers, ","))
	if l.via != "" {
		text += " through " + l.via
	}
	return text + ")"
}

// lockName is what people see of a play's lock before the run.
func (p *play) lockName() string {
	if p.lock == nil {
		return ""
	}
	return p.lock.String()
}

// lockReader resolves what is written about a lock; the first error stays.
type lockReader struct {
	r   *run
	s   *vars.Scope
	err error
}

func (l *lockReader) value(v vars.Value) vars.Data {
	if v.IsZero() || l.err != nil {
		return vars.Of("")
	}
	d, err := v.Resolve(l.s)
	if err == nil && d.IsUnknown() {
		err = vars.ErrUnknown
	}
	l.fail(v.Position(), err)
	return d
}

func (l *lockReader) text(v vars.Value) string { return strings.TrimSpace(l.value(v).Text()) }

func (l *lockReader) fail(at diag.Position, err error) {
	if err == nil || l.err != nil {
		return
	}
	var known diag.List
	var one diag.Diagnostic
	if !errors.As(err, &known) && !errors.As(err, &one) && !errors.Is(err, vars.ErrUnknown) {
		err = diag.Diagnostic{Position: at, Problem: "lock: " + err.Error()}
	}
	l.err = err
}

// first is the first host of a pattern; "" without one.
func (l *lockReader) first(v vars.Value) string {
	pattern := l.text(v)
	if pattern == "" || l.err != nil {
		return ""
	}
	names, err := selectNames(l.r.inventory(), pattern)
	if err == nil && len(names) == 0 {
		err = fmt.Errorf("no host is called %s", pattern)
	}
	if err != nil {
		l.fail(v.Position(), err)
		return ""
	}
	return names[0]
}

// lockScope is the scope of the play's first host: what is locked is named by its variables.
func (r *run) lockScope(pl *play, hosts []*inventory.Host) *vars.Scope {
	pr := &playRun{play: pl, all: hosts, magic: playMagic(pl, hosts, r.opts.Undo)}
	return pr.confirmScope(r)
}

// lockOf resolves a play's lock; nil is none.
func (r *run) lockOf(pl *play, hosts []*inventory.Host) (*lockSpec, error) {
	w := pl.Lock
	l := &lockReader{r: r, s: r.lockScope(pl, hosts)}
	spec := &lockSpec{at: w.At}
	if !w.File.IsZero() {
		if spec.file = l.text(w.File); spec.file == "" || l.err != nil {
			return nil, l.err
		}
		spec.file = absolutePath(absolute(pl.Dir, spec.file))
		return spec, nil
	}
	where := l.text(w.Path)
	if where == "" || l.err != nil {
		return nil, l.err
	}
	if !strings.HasPrefix(where, "/") || path.Clean(where) != where || where == "/" {
		return nil, diag.Diagnostic{Position: w.Path.Position(), Problem: fmt.Sprintf("the lock's path is %q", where), Hint: "write it from the root, such as /pegbook/locks/mycluster"}
	}
	if !w.Host.IsZero() {
		spec.onHost, spec.host = filepath.Clean(where), l.first(w.Host)
		if spec.host == "" && l.err == nil {
			l.fail(w.Host.Position(), errors.New("no host is named"))
		}
		return spec, l.err
	}
	spec.node, spec.via, spec.auth = where, l.first(w.Via), l.text(w.Auth)
	l.ensemble(spec, pl)
	return spec, l.err
}

// ensemble reads where ZooKeeper is, and how long a session lasts.
func (l *lockReader) ensemble(spec *lockSpec, pl *play) {
	w := pl.Lock
	servers := l.value(w.Servers)
	spec.serversFrom, spec.viaFrom = l.origin(w.Servers), variable(w.Via)
	if w.Servers.IsZero() && l.err == nil {
		d, ok, err := l.s.Lookup(lockServers)
		l.fail(w.At, err)
		if ok && err == nil {
			servers, spec.serversFrom = d, l.wherefrom(lockServers)
		}
	}
	spec.servers = zksession.SplitServers(files(servers))
	if len(spec.servers) == 0 {
		l.fail(w.At, diag.Diagnostic{Position: w.At, Problem: "it is not said where the ZooKeeper of the lock is",
			Hint: "set the variable " + lockServers + " (host:port,…), or give the lock zookeeper:"})
	}
	for _, server := range spec.servers {
		if strings.ContainsAny(server, "/ \t") || strings.HasSuffix(server, ":") {
			l.fail(w.At, fmt.Errorf("%q is no server of ZooKeeper; write host:port", server))
		}
	}
	slices.Sort(spec.servers)
	if text := l.text(w.Timeout); text != "" {
		t, err := modules.ParseDuration(text)
		if err != nil || t < time.Second || t > 10*time.Minute {
			err = fmt.Errorf("timeout is %q; write a time from 1s to 10m", text)
		}
		spec.timeout = t
		l.fail(w.Timeout.Position(), err)
	}
	if spec.auth != "" && !strings.Contains(spec.auth, ":") {
		l.fail(w.Auth.Position(), errors.New("auth is user:password"))
	}
}

// origin is the variable that a value comes from, with its place; or the value's own place.
func (l *lockReader) origin(v vars.Value) string {
	if name := variable(v); name != "" {
		return l.wherefrom(name)
	}
	if v.IsZero() {
		return ""
	}
	return v.Position().String()
}

// wherefrom follows a variable that is but another one to the last, which is the one to mend.
func (l *lockReader) wherefrom(name string) string {
	from := name
	for range 10 { // a circle is an error elsewhere
		found := l.s.Definitions(name)
		if len(found) == 0 {
			break
		}
		from = fmt.Sprintf("%s (%s)", name, found[0].Value.Position())
		if name = variable(found[0].Value); name == "" {
			break
		}
	}
	return from
}

// variable is the name of the variable that a value is made of, if it is one.
func variable(v vars.Value) string {
	if refs := v.Refs(); v.Templated() && len(refs) == 1 && len(refs[0].Path) == 1 {
		return refs[0].Path[0]
	}
	return ""
}

// findLocks resolves the locks of a plan's plays, as far as they are known before the run.
func (c *compiler) findLocks() {
	var r *run
	for _, b := range c.plan.playbooks {
		for _, pl := range b.plays {
			if pl.Lock == nil || len(pl.hosts) == 0 {
				continue
			}
			if r == nil {
				r = c.plan.newRun(Options{Now: time.Now})
			}
			spec, err := r.lockOf(pl, pl.hosts)
			if err != nil {
				c.blame(err, pl.Lock.At)
			}
			pl.lock = spec
		}
	}
}
