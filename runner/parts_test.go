package runner

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/connect"
	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/event"
	"github.com/pegbook/pegbook/runner/inventory"
	"github.com/pegbook/pegbook/runner/playbook"
	"github.com/pegbook/pegbook/runner/vars"
)

func TestTagsSelect(t *testing.T) {
	tests := []struct {
		name       string
		only, skip string
		tags       []string
		want       bool
	}{
		{"no choice", "", "", nil, true},
		{"never unless asked", "", "", []string{"never", "x"}, false},
		{"never when its other tag is asked", "x", "", []string{"never", "x"}, true},
		{"one of several", "a,b", "", []string{"b"}, true},
		{"not asked", "a", "", []string{"b"}, false},
		{"always", "a", "", []string{"always"}, true},
		{"always beats never", "a", "", []string{"always", "never"}, true},
		{"skip wins", "a", "b", []string{"a", "b"}, false},
		{"skip always by name", "", "always", []string{"always"}, false},
		{"tagged", "tagged", "", []string{"a"}, true},
		{"tagged is not never", "tagged", "", []string{"never"}, false},
		{"untagged", "untagged", "", nil, true},
		{"untagged leaves tagged out", "untagged", "", []string{"a"}, false},
		{"skip tagged", "", "tagged", []string{"a"}, false},
		{"skip tagged leaves untagged", "", "tagged", nil, true},
		{"skip all leaves always", "", "all", []string{"always"}, true},
		{"skip all", "", "all", []string{"a"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, tt.want, newSelector([]string{tt.only}, []string{tt.skip}).selects(tt.tags))
		})
	}
}

func TestBatchesCutAsSerialSays(t *testing.T) {
	var hosts []*inventory.Host
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		hosts = append(hosts, &inventory.Host{Name: name})
	}
	tests := []struct {
		name   string
		serial vars.Data
		want   []int
	}{
		{"number", vars.Of(2), []int{2, 2, 1}},
		{"text", vars.Of("3"), []int{3, 2}},
		{"percentage is of all, rounded down, at least one", vars.Of("30%"), []int{1, 1, 1, 1, 1}},
		{"list, last repeats", vars.Of([]vars.Data{vars.Of(1), vars.Of("40%")}), []int{1, 2, 2}},
		{"zero is all that are left", vars.Of([]vars.Data{vars.Of(1), vars.Of(0)}), []int{1, 4}},
		{"more than there are", vars.Of(9), []int{5}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cut, err := batches(hosts, vars.Literal(tt.serial), vars.NewScope(nil))
			require.NoError(t, err)
			var sizes []int
			for _, batch := range cut {
				sizes = append(sizes, len(batch))
			}
			assert.Equal(t, tt.want, sizes)
		})
	}
	_, err := batches(hosts, vars.Literal(vars.Of("many")), vars.NewScope(nil))
	assert.ErrorContains(t, err, `"many" is neither a number of hosts nor a percentage`)
}

func TestHandlersAreFoundByName(t *testing.T) {
	role1, role2 := &playbook.Role{Name: "r1"}, &playbook.Role{Name: "r2"}
	make := func(name string, role *playbook.Role, listen ...string) *handler {
		return &handler{Handler: &playbook.Handler{Task: &playbook.Task{Listen: listen}, Role: role}, name: name}
	}
	first, second := make("restart", role1), make("restart", role2)
	own, twin := make("reload", nil), make("reload", nil)
	topic := make("other", nil, "reload", "web")
	hs := handlers{first, second, own, twin, topic}
	assert.Equal(t, []*handler{second}, hs.notified("restart"), "the last role's")
	assert.Equal(t, []*handler{first}, hs.notified("r1 : restart"))
	assert.Equal(t, []*handler{topic, own}, hs.notified("reload"), "listeners and the first of that name")
	assert.Equal(t, []*handler{topic}, hs.notified("web"))
	assert.Empty(t, hs.notified("nobody"))
}

func TestAddressReadsVariablesBeforeKeywordsBeforeDefaults(t *testing.T) {
	values := func(pairs ...string) *vars.Values {
		m := map[string]vars.Data{}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = vars.Of(pairs[i+1])
		}
		return vars.ValuesOf(m)
	}
	k := &keys{Keywords: &playbook.Keywords{
		RemoteUser: vars.Literal(vars.Of("keyword")), Port: vars.Literal(vars.Of(2200)),
		Become: vars.Literal(vars.Of(true)), BecomeUser: vars.Literal(vars.Of("app")),
	}}
	defaults := ConnectionDefaults{User: "default", KeyFile: "/k", BecomePassword: "bp"}
	tests := []struct {
		name   string
		vars   *vars.Values
		keys   *keys
		want   connect.Address
		become connect.Become
	}{
		{"defaults", nil, nil, connect.Address{Name: "h", User: "default", KeyFiles: []string{"/k"}}, connect.Become{}},
		{"keywords", nil, k, connect.Address{Name: "h", User: "keyword", Port: 2200, KeyFiles: []string{"/k"}}, connect.Become{User: "app", Password: "bp"}},
		{"variables", values("ansible_user", "var", "ansible_port", "22022", "ansible_host", "127.0.0.11", "ansible_become_user", "daemon",
			"ansible_ssh_known_hosts_file", "/kh", "ansible_ssh_common_args", "-o ProxyJump=a@b,c", "ansible_ssh_config_file", "none"), k,
			connect.Address{Name: "h", Host: "127.0.0.11", User: "var", Port: 22022, KeyFiles: []string{"/k"}, KnownHosts: []string{"/kh"},
				JumpHosts: []string{"a@b", "c"}, ConfigFile: "none"}, connect.Become{User: "daemon", Password: "bp"}},
		{"become switched off by a variable", values("ansible_become", "false"), k,
			connect.Address{Name: "h", User: "keyword", Port: 2200, KeyFiles: []string{"/k"}}, connect.Become{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, b, err := defaults.address(&inventory.Host{Name: "h"}, vars.NewScope(nil).With(vars.HostInventory, tt.vars), tt.keys)
			require.NoError(t, err)
			assert.Equal(t, tt.want, a)
			assert.Equal(t, tt.become, b)
		})
	}
	_, _, err := defaults.address(&inventory.Host{Name: "h"}, vars.NewScope(nil).With(vars.HostInventory, values("ansible_port", "ssh")), nil)
	assert.ErrorContains(t, err, `port is "ssh"`)
}

func TestForcedHandlersRunOnFailedHosts(t *testing.T) {
	r := runFiles(t, `-- site.yml --
- hosts: h1,h2
  gather_facts: false
  force_handlers: true
  tasks:
    - {name: t, touch: /a, notify: h}
    - {name: f, fail: }
  post_tasks:
    - {name: never, say: x}
  handlers:
    - {name: h, say: x}
`, nil)
	assert.Equal(t, []string{"t h1 changed", "t h2 changed", "f h1 failed broken", "f h2 failed broken", "h h1 ok x", "h h2 ok x"}, r.done())
	assert.Equal(t, 2, r.ExitCode())
}

func TestHandlerNotifiesALaterOneInTheSameFlushAnEarlierOneInTheNext(t *testing.T) {
	r := runFiles(t, `-- site.yml --
- hosts: h1
  gather_facts: false
  tasks:
    - {name: t, touch: /a, notify: middle}
  handlers:
    - {name: first, say: x}
    - {name: middle, touch: /b, notify: [last, first]}
    - {name: last, say: x}
`, nil)
	assert.Equal(t, []string{"t h1 changed", "middle h1 changed", "last h1 ok x", "first h1 ok x"}, r.done())
}

func TestPlaysWithoutNeedsRunSideBySide(t *testing.T) {
	plan, problems := compileFiles(t, `-- site.yml --
- {hosts: h1, id: a, gather_facts: false, tasks: [{name: a1, say: x}, {name: a2, say: x}]}
- {hosts: h2, id: b, needs: [], gather_facts: false, tasks: [{name: b1, say: x}]}
- {hosts: h3, needs: [a, b], gather_facts: false, tasks: [{name: c1, say: x}]}
`, nil)
	require.NoError(t, problems.Err())
	var after [][]int
	for _, g := range plan.Graph() {
		after = append(after, g.After)
	}
	assert.Equal(t, [][]int{{}, {}, {0, 1}}, after)
	r := &records{}
	out, err := plan.Run(t.Context(), Options{Connect: &machines{}, Events: r, Forks: 2})
	require.NoError(t, err)
	assert.Equal(t, 0, out.ExitCode())
	done := r.done()
	assert.Len(t, done, 4)
	assert.Equal(t, "c1 h3 ok x", done[3])
}

func TestConfirmationRefusedDestroysNothing(t *testing.T) {
	text := `-- hosts.yml --
all: {hosts: {h1: }, vars: {cluster_name: onebox}}
-- site.yml --
- hosts: all
  gather_facts: false
  confirm: {message: "destroys {{ .cluster_name }}", value: "{{ .cluster_name }}"}
  tasks: [{name: t, touch: /a}]
`
	var asked string
	refused := runFiles(t, text, func(_ *Inputs, o *Options) {
		o.Confirm = func(_ context.Context, message, value string) error {
			asked = message + "/" + value
			return errors.New("not confirmed")
		}
	})
	assert.Equal(t, "destroys onebox/onebox", asked)
	assert.Empty(t, refused.done())
	assert.Equal(t, 1, refused.ExitCode())
	given := runFiles(t, text, func(_ *Inputs, o *Options) {
		o.Confirm = func(context.Context, string, string) error { return nil }
	})
	assert.Equal(t, []string{"t h1 changed"}, given.done())
}

func TestRequiresIsCheckedBeforeTheRun(t *testing.T) {
	_, problems := compileFiles(t, `-- hosts.yml --
all: {children: {meta: {hosts: {h1: }}}}
-- site.yml --
- hosts: all
  requires: {meta: ">=2", mata: ">=1"}
`, nil)
	require.Len(t, problems, 2)
	assert.Contains(t, problems.Error(), "group meta has 1 hosts; the play requires >= 2")
	assert.Contains(t, problems.Error(), `no group "mata"`)
}

func TestRequiresMayAllowAGroupToBeMissing(t *testing.T) {
	const files = `-- hosts.yml --
all: {children: {meta: {hosts: {h1: }}}}
-- site.yml --
- {hosts: "meta:collector", requires: {collector: "<=1"}}
- {hosts: "meta:collector"}
`
	_, problems := compileFiles(t, files, nil)
	require.Len(t, problems, 1, "%v", problems)
	assert.Equal(t, 2, problems[0].Line)
	assert.False(t, problems.Failed())
}

func TestPanicOfAModuleFailsItsTask(t *testing.T) {
	r := runFiles(t, "-- site.yml --\n- {hosts: h1, gather_facts: false, tasks: [{name: t, burst: {}}]}\n", func(in *Inputs, _ *Options) {
		in.Modules = NewSet(modules.Define("burst", "Panic.", func(context.Context, *modules.Call, struct{}) (*modules.Proposal, error) {
			panic("out of bounds")
		}))
	})
	require.Len(t, r.done(), 1)
	assert.Contains(t, r.done()[0], "t h1 failed bug in burst: out of bounds")
}

func TestRetriesWithoutUntilTryUntilSuccess(t *testing.T) {
	r := runFiles(t, `-- site.yml --
- hosts: h1
  gather_facts: false
  tasks:
    - {name: t, fail: , retries: 2, delay: 0.01, ignore_errors: true, register: r}
    - {name: n, say: "{{ .r.attempts }}"}
`, nil)
	var noted int
	for _, e := range r.events {
		if n, ok := e.(event.Noted); ok && n.Attempt > 0 {
			noted++
		}
	}
	assert.Equal(t, 2, noted)
	assert.Equal(t, []string{"t h1 failed ignored broken", "n h1 ok 2"}, r.done())
	assert.Less(t, r.Took, 10*time.Second)
}

func TestDiagnosedKeepsPositions(t *testing.T) {
	at := diag.Position{File: "a.yml", Line: 3}
	assert.Equal(t, diag.List{{Position: at, Problem: "no"}}, diagnosed(errors.New("no"), at))
	own := diag.Diagnostic{Position: diag.Position{File: "b.yml", Line: 1}, Problem: "bad"}
	assert.Equal(t, diag.List{own}, diagnosed(&vars.Error{Diagnostic: own}, at))
}
