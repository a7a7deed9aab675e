package runner

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/connect"
	"github.com/pegbook/pegbook/runner/inventory"
	"github.com/pegbook/pegbook/runner/playbook"
	"github.com/pegbook/pegbook/runner/vars"
)

// Connector opens managed hosts. Open is called once a step that uses its host; a host that cannot be
// reached is *modules.UnreachableError. It is safe for concurrent use.
type Connector interface {
	Open(ctx context.Context, a connect.Address, b connect.Become) (modules.Host, error)
}

// barer is a connector that runs a command line without a helper on the host (modules.Command.Bare).
type barer interface {
	Bare(ctx context.Context, a connect.Address, b connect.Become, cmd modules.Command) (modules.Output, error)
}

// resetter is a connector that can be told to dial anew (meta: reset_connection).
type resetter interface {
	Reset(a connect.Address)
}

// ConnectionDefaults are how hosts are reached where neither connection variables nor keywords say:
// the command line's options.
type ConnectionDefaults struct {
	User, KeyFile, Connection string
	Password                  string
	Become                    bool
	BecomeUser, BecomeMethod  string
	BecomePassword            string
	AcceptNewHostKeys         bool
}

// passwordNames are the variables that hold passwords, for login and for becoming; they are masked as what is
// encrypted is.
func passwordNames() []string { return slices.Concat(loginPasswords(), becomePasswords()) }

func loginPasswords() []string {
	return []string{"ansible_ssh_pass", "ansible_ssh_password", "ansible_password"}
}

func becomePasswords() []string {
	return []string{"ansible_become_password", "ansible_become_pass", "ansible_sudo_pass"}
}

// lookups reads connection settings: variables first, then keywords, then defaults. The first error
// stays; what is read after it does not count.
type lookups struct {
	scope *vars.Scope
	keys  *keys
	err   error
}

// name gives the first variable of these that is defined and not empty.
func (l *lookups) name(names ...string) vars.Data {
	for _, name := range names {
		d, ok, err := l.scope.Lookup(name)
		if err != nil && l.err == nil {
			l.err = err
		}
		if ok && err == nil && d.Kind() != "null" && d.Text() != "" {
			return d
		}
	}
	return vars.Of("")
}

func (l *lookups) text(names ...string) string { return l.name(names...).Text() }

// keyword gives the nearest keyword's value as text; "" without one.
func (l *lookups) keyword(get func(*playbook.Keywords) vars.Value) string {
	d, err := keyword(l.keys, l.scope, get)
	if err != nil && l.err == nil {
		l.err = err
	}
	return d.Text()
}

// refuse keeps the first error.
func (l *lookups) refuse(err error) {
	if l.err == nil {
		l.err = err
	}
}

func (l *lookups) number(text, what string) int {
	if text == "" {
		return 0
	}
	n, err := strconv.Atoi(text)
	if err != nil && l.err == nil {
		l.err = fmt.Errorf("%s is %q, which is no whole number", what, text)
	}
	return n
}

func (l *lookups) flag(text, what string) bool {
	if text == "" {
		return false
	}
	b, err := modules.ParseBool(text)
	if err != nil && l.err == nil {
		l.err = fmt.Errorf("%s is %q, which is neither true nor false", what, text)
	}
	return b
}

func firstOf(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}

// address reads how a host is reached and as whom, in the scope of one of its steps.
func (d ConnectionDefaults) address(h *inventory.Host, scope *vars.Scope, k *keys) (connect.Address, connect.Become, error) {
	l := &lookups{scope: scope, keys: k}
	a := connect.Address{
		Name:       h.Name,
		Connection: firstOf(l.text("ansible_connection"), l.keyword(func(k *playbook.Keywords) vars.Value { return k.Connection }), d.Connection),
		Host:       l.text("ansible_ssh_host", "ansible_host"),
		Port:       l.number(firstOf(l.text("ansible_ssh_port", "ansible_port"), l.keyword(func(k *playbook.Keywords) vars.Value { return k.Port })), "port"),
		User:       firstOf(l.text("ansible_ssh_user", "ansible_user"), l.keyword(func(k *playbook.Keywords) vars.Value { return k.RemoteUser }), d.User),
		Password:   firstOf(l.text(loginPasswords()...), d.Password),
		ConfigFile: l.text("ansible_ssh_config_file"),
		KnownHosts: files(l.name("ansible_ssh_known_hosts_file")),
		TempDir:    l.text("ansible_remote_tmp"),
		Retries:    l.number(l.text("ansible_ssh_retries"), "ansible_ssh_retries"),
		Timeout:    time.Duration(l.number(l.text("ansible_ssh_timeout", "ansible_timeout"), "ansible_timeout")) * time.Second,
	}
	if h.Implicit && a.Connection == "" {
		a.Connection = "local"
	}
	a.Connection = strings.TrimPrefix(a.Connection, "ansible.builtin.")
	switch a.Connection {
	case "", "ssh", "local":
	case "smart", "paramiko", "paramiko_ssh":
		a.Connection = "ssh"
	default:
		l.refuse(fmt.Errorf("connection is %q; there are ssh and local", a.Connection))
	}
	if key := firstOf(l.text("ansible_ssh_private_key_file", "ansible_private_key_file"), d.KeyFile); key != "" {
		a.KeyFiles = []string{key}
	}
	sshArgs(&a, l.text("ansible_ssh_common_args")+" "+l.text("ansible_ssh_extra_args")+" "+l.text("ansible_ssh_args"))
	if jump := l.text("ansible_ssh_proxy_jump"); jump != "" {
		a.JumpHosts = strings.Split(jump, ",")
	}
	accept := l.text("ansible_host_key_accept_new")
	check := l.text("ansible_ssh_host_key_checking", "ansible_host_key_checking")
	a.AcceptNewHostKeys = a.AcceptNewHostKeys || d.AcceptNewHostKeys || l.flag(accept, "ansible_host_key_accept_new") || check != "" && !l.flag(check, "ansible_host_key_checking")
	b := d.become(l)
	return a, b, l.err
}

func files(d vars.Data) []string {
	list, ok := d.List()
	if !ok {
		if d.Text() == "" {
			return nil
		}
		return []string{d.Text()}
	}
	var names []string
	for _, name := range list {
		names = append(names, name.Text())
	}
	return names
}

// sshArgs takes from ssh's arguments what has a meaning here: jump hosts, known hosts, the key and the
// configuration.
func sshArgs(a *connect.Address, args string) {
	if strings.TrimSpace(args) == "" {
		return
	}
	words := strings.Fields(strings.NewReplacer(`"`, "", `'`, "").Replace(args))
	for i := range words {
		next := ""
		if i+1 < len(words) {
			next = words[i+1]
		}
		option := strings.TrimPrefix(words[i], "-o")
		if words[i] == "-o" {
			option = next
		}
		name, value, _ := strings.Cut(option, "=")
		switch {
		case words[i] == "-J":
			a.JumpHosts = strings.Split(next, ",")
		case words[i] == "-F":
			a.ConfigFile = next
		case words[i] == "-i":
			a.KeyFiles = append(a.KeyFiles, next)
		case strings.EqualFold(name, "ProxyJump"):
			a.JumpHosts = strings.Split(value, ",")
		case strings.EqualFold(name, "UserKnownHostsFile") && value != "/dev/null":
			a.KnownHosts = []string{value}
		case strings.EqualFold(name, "StrictHostKeyChecking") && strings.EqualFold(value, "accept-new"):
			a.AcceptNewHostKeys = true
		case strings.EqualFold(name, "ServerAliveInterval"):
			if n, err := strconv.Atoi(value); err == nil && n > 0 {
				a.KeepAlive = time.Duration(n) * time.Second
			}
		}
	}
}

// become reads as whom to act; the zero Become when as nobody else.
func (d ConnectionDefaults) become(l *lookups) connect.Become {
	asked := firstOf(l.text("ansible_become"), l.keyword(func(k *playbook.Keywords) vars.Value { return k.Become }))
	if !d.Become && asked == "" || asked != "" && !l.flag(asked, "become") {
		return connect.Become{}
	}
	return connect.Become{
		User:     firstOf(l.text("ansible_become_user"), l.keyword(func(k *playbook.Keywords) vars.Value { return k.BecomeUser }), d.BecomeUser, "root"),
		Method:   strings.TrimPrefix(firstOf(l.text("ansible_become_method"), l.keyword(func(k *playbook.Keywords) vars.Value { return k.BecomeMethod }), d.BecomeMethod), "ansible.builtin."),
		Password: firstOf(l.text(becomePasswords()...), d.BecomePassword),
		Exe:      l.text("ansible_become_exe"),
		Flags:    l.text("ansible_become_flags"),
	}
}

// lazyHost opens its host when it is first used, so that a module that never touches it works on a host
// that cannot be reached. It adds the task's environment to commands.
type lazyHost struct {
	name string
	env  map[string]string
	open func(ctx context.Context) (modules.Host, error)
	// bare runs a command without a helper; nil where the connector has no such way.
	bare func(ctx context.Context, cmd modules.Command) (modules.Output, error)

	// fences are the locks that the host is changed under.
	fences []connect.Fence
	// keep is the name under which the host keeps what is there before changes; "" keeps nothing. It is set before Do.
	keep string

	mu     sync.Mutex // guards host, while it is being opened as well, and the rest
	host   modules.Host
	dialed bool // something else than the host's files and commands is being talked to
	acting bool // something is being changed, not looked at
}

var (
	_ modules.Host = (*lazyHost)(nil)
	_ modules.Jobs = (*lazyHost)(nil)
)

// Name is the host's name in the inventory.
func (l *lazyHost) Name() string { return l.name }

func (l *lazyHost) get(ctx context.Context) (modules.Host, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.host != nil {
		return l.host, nil
	}
	h, err := l.open(ctx)
	if err != nil {
		return nil, err
	}
	if f, ok := h.(connect.Fenced); ok && len(l.fences) > 0 {
		h = f.Under(l.fences...)
	}
	l.host = h
	return h, nil
}

// mayAct says that from now on something is changed. Where that may go past the host's helper, which refuses what
// is done under a lock that has another holder by now, the host is asked first.
func (l *lazyHost) mayAct(ctx context.Context) error {
	l.mu.Lock()
	l.acting = true
	ask := l.dialed && len(l.fences) > 0
	l.mu.Unlock()
	if !ask {
		return nil
	}
	h, err := l.get(ctx)
	if err != nil {
		return err
	}
	return allowed(ctx, h)
}

// allowed asks a host whether it knows of newer holders of the locks that it is changed under.
func allowed(ctx context.Context, h modules.Host) error {
	if f, ok := h.(connect.Fenced); ok {
		return f.Allowed(ctx)
	}
	return nil
}

// dials notes that something behind the host is talked to, and says whether the host is to be asked first.
func (l *lazyHost) dials() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dialed = true
	return l.acting && len(l.fences) > 0
}

// Look reads the state of files.
func (l *lazyHost) Look(ctx context.Context, queries ...modules.Query) ([]modules.File, error) {
	h, err := l.get(ctx)
	if err != nil {
		return nil, err
	}
	return h.Look(ctx, queries...)
}

// Apply changes files.
func (l *lazyHost) Apply(ctx context.Context, changes ...modules.Change) error {
	h, err := l.get(ctx)
	if err != nil {
		return err
	}
	return h.Apply(ctx, keeping(changes, l.keep)...)
}

// keeping gives changes before which the host keeps what is there.
func keeping(changes []modules.Change, name string) []modules.Change {
	if name == "" {
		return changes
	}
	out := slices.Clone(changes)
	for i := range out {
		if out[i].Keep == "" {
			out[i].Keep = name
		}
	}
	return out
}

// Run runs a command in the task's environment; a bare one without it.
func (l *lazyHost) Run(ctx context.Context, cmd modules.Command) (modules.Output, error) {
	if cmd.Bare && l.bare != nil {
		out, err := l.bare(ctx, cmd)
		if err == nil && out.ExitCode != 0 {
			err = &modules.ExitError{Argv: cmd.Argv, Output: out}
		}
		return out, err
	}
	h, err := l.get(ctx)
	if err != nil {
		return modules.Output{}, err
	}
	return h.Run(ctx, l.withEnvironment(cmd))
}

// withEnvironment is a command in the task's environment.
func (l *lazyHost) withEnvironment(cmd modules.Command) modules.Command {
	if len(l.env) > 0 {
		env := maps.Clone(l.env)
		maps.Copy(env, cmd.Env)
		cmd.Env = env
	}
	return cmd
}

// opened says whether the host has been reached, and not dropped.
func (l *lazyHost) opened() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.host != nil
}

// drop lets the next use open the host anew.
func (l *lazyHost) drop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.host = nil
}

// jobs gives the host as one that keeps jobs.
func (l *lazyHost) jobs(ctx context.Context) (modules.Jobs, error) {
	h, err := l.get(ctx)
	if err != nil {
		return nil, err
	}
	jobs, ok := h.(modules.Jobs)
	if !ok {
		return nil, fmt.Errorf("%s cannot keep jobs", l.name)
	}
	return jobs, nil
}

// StartJob starts a job in the task's environment.
func (l *lazyHost) StartJob(ctx context.Context, job modules.Job) (modules.JobState, error) {
	jobs, err := l.jobs(ctx)
	if err != nil {
		return modules.JobState{}, err
	}
	job.Command = l.withEnvironment(job.Command)
	return jobs.StartJob(ctx, job)
}

// Job gives a job's state.
func (l *lazyHost) Job(ctx context.Context, id string) (modules.JobState, error) {
	jobs, err := l.jobs(ctx)
	if err != nil {
		return modules.JobState{}, err
	}
	return jobs.Job(ctx, id)
}

// ForgetJob takes away what a job has left.
func (l *lazyHost) ForgetJob(ctx context.Context, id string) (modules.JobState, error) {
	jobs, err := l.jobs(ctx)
	if err != nil {
		return modules.JobState{}, err
	}
	return jobs.ForgetJob(ctx, id)
}

// Dial connects to an address as seen from the host. The time that ctx gives is for the address: opening the host
// has a time of its own, so that a host whose sshd is slow is not taken for one that cannot be reached.
func (l *lazyHost) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	opening, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() {
		if errors.Is(ctx.Err(), context.Canceled) {
			cancel(context.Cause(ctx))
		}
	})
	defer stop()
	h, err := l.get(opening)
	if err != nil {
		return nil, err
	}
	if l.dials() {
		if err := allowed(ctx, h); err != nil {
			return nil, err
		}
	}
	return h.Dial(ctx, network, addr)
}

// Predicted is false: this host is real.
func (l *lazyHost) Predicted(string) (string, bool) { return "", false }

// absolute makes a path of the control node absolute, from a folder.
func absolute(dir, name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(dir, name)
}
