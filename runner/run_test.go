package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/modtest"
	"github.com/pegbook/pegbook/runner/connect"
	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/event"
	"github.com/pegbook/pegbook/runner/inventory"
	"github.com/pegbook/pegbook/runner/playbook"
)

// machines are hosts in memory, made when first opened. A host whose port is 1 cannot be reached.
type machines struct {
	mu     sync.Mutex // guards hosts, opened
	hosts  map[string]modules.Host
	opened []string // name and user, in order
}

func (m *machines) Open(_ context.Context, a connect.Address, b connect.Become) (modules.Host, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.opened = append(m.opened, strings.TrimSuffix(a.Name+" "+b.User, " "))
	if a.Port == 1 {
		return nil, &modules.UnreachableError{Host: a.Name, Err: errors.New("connection refused")}
	}
	if m.hosts == nil {
		m.hosts = map[string]modules.Host{}
	}
	if m.hosts[a.Name] == nil {
		m.hosts[a.Name] = modtest.NewMachine(a.Name)
	}
	return m.hosts[a.Name], nil
}

// records keeps what happened.
type records struct {
	mu     sync.Mutex // guards events
	events []event.Event
	seqs   []int64
}

func (r *records) Record(rec event.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, rec.Event)
	r.seqs = append(r.seqs, rec.Seq)
}

// done lists the finished tasks as "task host status msg".
func (r *records) done() []string {
	var all []string
	for _, e := range r.events {
		if d, ok := e.(event.TaskDone); ok {
			line := d.Task + " " + d.Host + " " + string(d.Status)
			if d.Ignored {
				line += " ignored"
			}
			if d.Rescued {
				line += " rescued"
			}
			all = append(all, strings.TrimSpace(line+" "+d.Msg))
		}
	}
	return all
}

type sayArgs struct {
	Msg json.RawMessage `arg:"msg,free" doc:"what to say"`
}

type failArgs struct {
	Msg string `arg:"msg" default:"broken" doc:"why"`
}

type touchArgs struct {
	Path   string `arg:"path,free,path,required" doc:"file to make"`
	Secret string `arg:"secret,secret" doc:"a secret"`
}

type shArgs struct {
	Cmd string `arg:"cmd,free,required" doc:"command to run"`
}

type setArgs struct {
	Facts map[string]json.RawMessage `arg:",rest" doc:"variables"`
}

type assertArgs struct {
	That []modules.Expr `arg:"that,required" doc:"conditions"`
}

type output struct {
	RC     int    `json:"rc"`
	Stdout string `json:"stdout"`
}

// testModules are small real modules.
func testModules() Set {
	return NewSet(
		modules.Define("say", "Say something.", func(_ context.Context, _ *modules.Call, a sayArgs) (*modules.Proposal, error) {
			text := string(a.Msg)
			if err := json.Unmarshal(a.Msg, &text); err != nil {
				text = string(a.Msg)
			}
			return &modules.Proposal{Message: text}, nil
		}),
		modules.Define("fail", "Fail.", func(_ context.Context, _ *modules.Call, a failArgs) (*modules.Proposal, error) {
			return nil, errors.New(a.Msg)
		}),
		modules.Define("touch", "Make a file.", func(ctx context.Context, call *modules.Call, a touchArgs) (*modules.Proposal, error) {
			found, err := call.Host.Look(ctx, modules.Query{Path: a.Path})
			if err != nil {
				return nil, err
			}
			if found[0].Kind != modules.Missing {
				return &modules.Proposal{}, nil
			}
			return &modules.Proposal{
				Diff: []modules.Diff{{Subject: a.Path, Note: "made with " + a.Secret}},
				Do: func(ctx context.Context, h modules.Host) error {
					return h.Apply(ctx, modules.Change{Kind: modules.WriteFile, Path: a.Path, Content: modules.Bytes("", nil)})
				},
			}, nil
		}),
		modules.Define("sh", "Run a command.", func(_ context.Context, _ *modules.Call, a shArgs) (*modules.Proposal, error) {
			out := &output{}
			return &modules.Proposal{
				Diff:   []modules.Diff{{Subject: a.Cmd}},
				Output: out,
				Do: func(ctx context.Context, h modules.Host) error {
					got, err := h.Run(ctx, modules.Command{Argv: strings.Fields(a.Cmd)})
					out.RC, out.Stdout = got.ExitCode, string(got.Stdout)
					return err
				},
			}, nil
		}),
		modules.Define("sleep", "Wait for ever.", func(ctx context.Context, _ *modules.Call, _ struct{}) (*modules.Proposal, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}),
		modules.Define("set_fact", "Set variables.", func(_ context.Context, _ *modules.Call, a setArgs) (*modules.Proposal, error) {
			return &modules.Proposal{Facts: a.Facts}, nil
		}),
		modules.Define("assert", "Assert.", func(_ context.Context, call *modules.Call, a assertArgs) (*modules.Proposal, error) {
			for _, e := range a.That {
				got, err := call.Eval(e)
				if err != nil {
					return nil, err
				}
				if string(got) != "true" {
					return nil, fmt.Errorf("%s is %s", e, got)
				}
			}
			return &modules.Proposal{}, nil
		}),
	)
}

// writeFiles writes a case's files: "-- name --" lines as in txtar.
func writeFiles(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	name := ""
	var b strings.Builder
	flush := func() {
		if name == "" {
			return
		}
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(b.String()), 0o644))
		b.Reset()
	}
	for line := range strings.SplitAfterSeq(text, "\n") {
		if n, ok := strings.CutPrefix(strings.TrimSpace(line), "-- "); ok {
			flush()
			name = strings.TrimSuffix(n, " --")
			continue
		}
		b.WriteString(line)
	}
	flush()
	return dir
}

const threeHosts = "all: {hosts: {h1: , h2: , h3: }}\n"

func compileFiles(t *testing.T, text string, change func(*Inputs)) (*Plan, diag.List) {
	t.Helper()
	dir := writeFiles(t, text)
	site := filepath.Join(dir, "site.yml")
	if _, err := os.Stat(filepath.Join(dir, "hosts.yml")); err != nil {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "hosts.yml"), []byte(threeHosts), 0o644))
	}
	book, problems := playbook.Parse(site, playbook.Options{})
	require.NoError(t, problems.Err())
	inv, problems := inventory.Load(t.Context(), inventory.Options{Sources: []string{filepath.Join(dir, "hosts.yml")}, PlaybookDir: dir})
	require.NoError(t, problems.Err())
	in := Inputs{Playbooks: []*playbook.Playbook{book}, Inventory: inv, Modules: testModules()}
	if change != nil {
		change(&in)
	}
	return Compile(in)
}

type ran struct {
	*records
	Outcome
	machines *machines
}

func runFiles(t *testing.T, text string, change func(*Inputs, *Options)) ran {
	t.Helper()
	o := Options{Forks: 1}
	r := ran{records: &records{}, machines: &machines{}}
	plan, problems := compileFiles(t, text, func(in *Inputs) {
		if change != nil {
			change(in, &o)
		}
	})
	require.NoError(t, problems.Err())
	o.Events = r.records
	if o.Connect == nil {
		o.Connect = r.machines
	}
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	var err error
	r.Outcome, err = plan.Run(ctx, o)
	require.NoError(t, err)
	return r
}

func TestRun(t *testing.T) {
	play := func(hosts, rest string) string {
		return "-- site.yml --\n- hosts: " + hosts + "\n  gather_facts: false\n" + rest
	}
	tests := []struct {
		name string
		text string
		want []string
		code int
	}{
		{"hosts in lockstep", play("h1,h2", `
  tasks:
    - {name: a, say: "{{ .inventory_hostname }}"}
    - {name: b, say: "{{ .ansible_play_hosts }}", when: eq .inventory_hostname "h2"}
`), []string{"a h1 ok h1", "a h2 ok h2", "b h1 skipped", `b h2 ok ["h1","h2"]`}, 0},
		{"serial batches, handlers a batch", play("all", `
  serial: [1, 2]
  tasks:
    - {name: make, touch: /a, notify: again}
  handlers:
    - {name: again, say: x}
`), []string{"make h1 changed", "again h1 ok x", "make h2 changed", "make h3 changed", "again h2 ok x", "again h3 ok x"}, 0},
		{"a lost batch ends the run", play("all", `
  serial: 1
  tasks:
    - {name: t, fail: {msg: bad}}
`), []string{"t h1 failed bad"}, 2},
		{"rescue and always", play("h1,h2", `
  tasks:
    - block:
        - {name: bad, fail: , when: eq .inventory_hostname "h1"}
        - {name: rest, say: x}
      rescue:
        - {name: saved, say: "{{ .ansible_failed_task.name }} {{ .ansible_failed_result.msg }}"}
      always:
        - {name: end, say: x}
    - {name: after, say: x}
`), []string{"bad h1 failed rescued broken", "bad h2 skipped", "rest h2 ok x", "saved h1 ok bad broken", "end h1 ok x", "end h2 ok x", "after h1 ok x", "after h2 ok x"}, 0},
		{"loop, register, until", play("h1", `
  tasks:
    - {name: count, set_fact: {n: "{{ add 1 (.n | default 0) }}"}, loop: [1, 2], register: r}
    - {name: look, say: "{{ .n }} {{ len .r.results }}"}
    - {name: again, say: x, until: eq (len .inventory_hostname) 3, retries: 1, delay: 0, register: u, ignore_errors: true}
    - {name: tries, say: "{{ .u.attempts }} {{ failed .u }}"}
`), []string{"count h1 ok All items completed", "look h1 ok 2 2", "again h1 failed ignored x", "tries h1 ok 1 true"}, 0},
		{"run_once for all", play("all", `
  tasks:
    - {name: once, set_fact: {v: "{{ .inventory_hostname }}"}, run_once: true}
    - {name: seen, say: "{{ .v }}"}
`), []string{"once h1 ok", "seen h1 ok h1", "seen h2 ok h1", "seen h3 ok h1"}, 0},
		{"any_errors_fatal stops all", play("all", `
  any_errors_fatal: true
  tasks:
    - {name: t, fail: , when: eq .inventory_hostname "h2"}
    - {name: never, say: x}
`), []string{"t h1 skipped", "t h2 failed broken", "t h3 skipped"}, 2},
		{"includes in lockstep, by item", play("h1,h2", `
  tasks:
    - {name: inc, include_tasks: inc.yml, loop: [x, y], when: eq .inventory_hostname "h1"}
    - {include_tasks: "{{ \"inc\" }}.yml", vars: {item: z}}
`) + "-- inc.yml --\n- {name: in, say: \"{{ .item }}\"}\n- {name: two, say: \"{{ .inventory_hostname }}\"}\n",
			[]string{"inc h1 ok All items completed", "inc h2 skipped All items skipped", "in h1 ok x", "two h1 ok h1", "in h1 ok y", "two h1 ok h1",
				"in h1 ok z", "in h2 ok z", "two h1 ok h1", "two h2 ok h2"}, 0},
		{"unreachable leaves the run", "-- hosts.yml --\nall: {hosts: {h1: {ansible_port: 1}, h2: }}\n" + play("all", `
  tasks:
    - {name: t, touch: /a}
    - {name: u, say: x}
`), []string{"t h1 unreachable h1 cannot be reached: connection refused", "t h2 changed", "u h2 ok x"}, 4},
		{"limit exceeded", play("all", `
  max_fail_percentage: 30
  tasks:
    - {name: t, fail: , when: eq .inventory_hostname "h2"}
    - {name: never, say: x}
`), []string{"t h1 skipped", "t h2 failed broken", "t h3 skipped"}, 2},
		{"assert evaluates bare expressions", play("h1", `
  vars: {n: 3}
  tasks:
    - {name: good, assert: {that: [eq .n 3, gt .n 2]}}
    - {name: bad, assert: {that: eq .n 4}}
`), []string{"good h1 ok", "bad h1 failed eq .n 4 is false"}, 2},
		{"strategy host_pinned finishes a host first", play("h1,h2", `
  strategy: host_pinned
  tasks:
    - {name: a, say: x}
    - {name: b, say: x}
`), []string{"a h1 ok x", "b h1 ok x", "a h2 ok x", "b h2 ok x"}, 0},
		{"end_host, end_play", play("h1,h2", `
  tasks:
    - {meta: end_host, when: eq .inventory_hostname "h1"}
    - {name: a, say: x}
    - meta: end_play
    - {name: b, say: x}
`), []string{"a h2 ok x"}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := runFiles(t, tt.text, nil)
			assert.Equal(t, tt.want, r.done())
			assert.Equal(t, tt.code, r.ExitCode())
			for i, seq := range r.seqs {
				require.Equal(t, int64(i+1), seq)
			}
		})
	}
}

func TestDelegatedTaskRunsElsewhereAndCountsHere(t *testing.T) {
	r := runFiles(t, `-- site.yml --
- hosts: h1
  gather_facts: false
  tasks:
    - {name: d, touch: /a, delegate_to: h2, become: true, become_user: app}
`, nil)
	assert.Equal(t, []string{"d h1 changed"}, r.done())
	assert.Equal(t, []string{"h2 app"}, r.machines.opened)
	assert.Equal(t, map[string]event.Counts{"h1": {OK: 1, Changed: 1}}, r.Recap)
}

func TestCheckModeSeesWhatEarlierTasksWouldHaveMade(t *testing.T) {
	text := `-- site.yml --
- hosts: h1
  gather_facts: false
  tasks:
    - {name: first, touch: /a, notify: h}
    - {name: second, touch: /a}
    - {name: cmd, sh: run it, register: r}
    - {name: dependent, say: "{{ .r.stdout }}"}
    - {name: known, say: "{{ changed .r }}"}
    - {name: judged, sh: run it, changed_when: false}
    - {name: set to it, set_fact: {x: "{{ .r.stdout }}", z: 1}}
    - {name: set perhaps, set_fact: {y: 1}, when: 'eq .r.stdout "a"'}
    - {name: use of one, say: "{{ .x }}"}
    - {name: use of the other, say: "{{ .y }}"}
  handlers:
    - {name: h, touch: /b}
`
	check := runFiles(t, text, func(_ *Inputs, o *Options) { o.Check = true })
	var statuses []string
	for _, e := range check.events {
		if d, ok := e.(event.TaskDone); ok {
			statuses = append(statuses, d.Task+" "+string(d.Status))
		}
	}
	assert.Equal(t, []string{"first changed", "second ok", "cmd changed", "dependent unknown", "known ok", "judged unknown",
		"set to it unknown", "set perhaps unknown", "use of one unknown", "use of the other unknown", "h changed"}, statuses)
	found, err := check.machines.hosts["h1"].Look(t.Context(), modules.Query{Path: "/a"})
	require.NoError(t, err)
	assert.Equal(t, modules.Missing, found[0].Kind, "check mode wrote")
}

func TestSecretsStayOutOfEvents(t *testing.T) {
	r := runFiles(t, `-- site.yml --
- hosts: h1
  gather_facts: false
  tasks:
    - {name: arg, touch: {path: /a, secret: hunter22}}
    - {name: hidden, say: hunter22, no_log: true, register: r}
    - {name: items, say: "{{ .item }}", loop: [hunter22], no_log: true}
    - {name: kept, say: "{{ len .r.msg }}"}
`, func(_ *Inputs, o *Options) { o.Diff = true })
	raw, err := json.Marshal(r.events)
	require.NoError(t, err)
	assert.NotContains(t, string(raw), "hunter22")
	assert.Contains(t, r.done(), "kept h1 ok 8")
}

func TestTimeoutFailsTheTaskWithItsCause(t *testing.T) {
	r := runFiles(t, `-- site.yml --
- hosts: h1
  gather_facts: false
  tasks:
    - {name: slow, sleep: {}, timeout: 0.05}
`, nil)
	assert.Equal(t, []string{`slow h1 failed task "slow" took longer than its timeout of 50ms`}, r.done())
}

func TestInterrupt(t *testing.T) {
	drain := make(chan struct{})
	var once sync.Once
	plan, problems := compileFiles(t, `-- site.yml --
- hosts: h1
  gather_facts: false
  tasks:
    - block:
        - {name: a, say: x}
        - {name: b, say: x}
      always:
        - {name: c, say: x}
`, nil)
	require.NoError(t, problems.Err())
	r := &records{}
	sink := event.Tee{r, sinkFunc(func(rec event.Record) {
		if _, ok := rec.Event.(event.TaskStarted); ok {
			once.Do(func() { close(drain) })
		}
	})}
	out, err := plan.Run(t.Context(), Options{Connect: &machines{}, Events: sink, Drain: drain})
	require.NoError(t, err)
	assert.Equal(t, []string{"a h1 ok x"}, r.done())
	assert.Equal(t, 130, out.ExitCode())
	assert.Contains(t, out.Message, `h1 after task "a" inside a block whose rescue or always has not run`)
}

type sinkFunc func(event.Record)

func (f sinkFunc) Record(r event.Record) { f(r) }

func TestCompileFindsMistakesBeforeTheRun(t *testing.T) {
	tests := []struct{ name, task, want string }{
		{"module", "{tuch: /a}", `there is no module "tuch"`},
		{"argument", "{touch: {pth: /a, path: /b}}", `module touch takes no argument "pth"`},
		{"missing argument", "{touch: {secret: x}}", "module touch: argument path is missing"},
		{"relative path", "{touch: a}", `module touch: path is "a"`},
		{"expression", `{assert: {that: "eq .a ("}}`, "unclosed"},
		{"handler", "{say: x, notify: nobody}", `no handler is called "nobody"`},
		{"meta", "{meta: end_plya}", "end_plya"},
		{"undefined variable", `{say: "{{ .nothing_at_all }}"}`, "nothing_at_all"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := writeFiles(t, "-- site.yml --\n- hosts: all\n  gather_facts: false\n  tasks:\n    - "+tt.task+"\n-- hosts.yml --\n"+threeHosts)
			book, problems := playbook.Parse(filepath.Join(dir, "site.yml"), playbook.Options{})
			inv, _ := inventory.Load(t.Context(), inventory.Options{Sources: []string{filepath.Join(dir, "hosts.yml")}})
			if !problems.Failed() {
				_, problems = Compile(Inputs{Playbooks: []*playbook.Playbook{book}, Inventory: inv, Modules: testModules()})
			}
			require.Error(t, problems.Err())
			require.Len(t, problems, 1, problems.Error())
			assert.Contains(t, problems.Error(), tt.want)
			assert.Equal(t, 4, problems[0].Line)
		})
	}
}

func TestCompileRefusesALimitThatLeavesNobody(t *testing.T) {
	_, problems := compileFiles(t, "-- site.yml --\n- {hosts: all, gather_facts: false}\n", func(in *Inputs) { in.Limit = []string{"nobody"} })
	assert.ErrorContains(t, problems.Err(), "leaves no host")
}

func TestSetRefusesTwoOfOneName(t *testing.T) {
	all := testModules().All()
	assert.Panics(t, func() { NewSet(append(all, all[0])...) })
	names := testModules().Names()
	assert.True(t, slices.IsSorted(names))
}

// TestManyHostsStaySmall is the bound of 1,000 hosts and 20 tasks on a small control node: at most 1 ms of
// CPU a host and task, and not much memory beyond the hosts' own.
func TestManyHostsStaySmall(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	var tasks strings.Builder
	for i := range 20 {
		fmt.Fprintf(&tasks, "    - {name: t%d, say: \"{{ .inventory_hostname }} {{ .n }}\", register: r, when: eq .n %d}\n", i, 5)
	}
	var peak uint64
	sample := sinkFunc(func(rec event.Record) {
		if rec.Seq%5000 == 0 {
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapAlloc)
		}
	})
	plan, problems := compileFiles(t, "-- hosts.yml --\nall: {hosts: {\"h[0001:1000]\": }, vars: {n: 5}}\n-- site.yml --\n- hosts: all\n  gather_facts: false\n  tasks:\n"+tasks.String(), nil)
	require.NoError(t, problems.Err())
	var before, after syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &before))
	out, err := plan.Run(t.Context(), Options{Connect: &machines{}, Events: sample})
	require.NoError(t, err)
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &after))
	assert.Len(t, out.Recap, 1000)
	cpu := time.Duration(after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano())
	t.Logf("%s of CPU, %s a host and task, heap at most %d MiB", cpu, cpu/20000, peak>>20)
	assert.Less(t, cpu/20000, time.Millisecond)
	assert.Less(t, peak, uint64(100<<20))
}

// The last word of a run says whether all hosts of a batch failed, or were stopped by one of them.
func TestRunSaysWhyNoHostOfABatchIsLeft(t *testing.T) {
	tests := []struct{ name, tasks, want string }{
		{"all fail", "[{fail: }]", "play all: every host of batch 1 is lost, so nothing more was started"},
		{"one fails for all", "[{fail: , run_once: true}]", "play all: what failed on h1 stops every host of batch 1 (run_once or any_errors_fatal), so nothing more was started"},
		{"two fail for all", `[{fail: , any_errors_fatal: true, when: ne .inventory_hostname "h2"}]`,
			"play all: what failed on h1, h3 stops every host of batch 1 (run_once or any_errors_fatal), so nothing more was started"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := runFiles(t, "-- site.yml --\n- {hosts: all, gather_facts: false, tasks: "+tt.tasks+"}\n", nil)
			assert.Equal(t, tt.want, r.Message)
		})
	}
}
