package inventory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/secret"
	"github.com/pegbook/pegbook/runner/vault"
)

// registers is a plugin with one source, register, that answers as its function does.
type registers func(ctx context.Context, file, options string) (*Answer, error)

type registerOptions struct {
	Site string `arg:"site" doc:"whose hosts"`
	Key  string `arg:"key,secret" doc:"the key of the register"`
}

func (r registers) Source(_ context.Context, name string) (*Source, error) {
	if name != "register" {
		return nil, &NoSourceError{Hint: `did you mean "register"?`}
	}
	return &Source{Options: modules.SchemaOf[registerOptions](), Ask: func(ctx context.Context, file string, options json.RawMessage) (*Answer, error) {
		return r(ctx, file, string(options))
	}}, nil
}

func hosts(names ...string) *Answer {
	a := &Answer{}
	for _, name := range names {
		a.Hosts = append(a.Hosts, AnsweredHost{Name: name})
	}
	return a
}

// answers is a source that answers always the same.
func answers(a *Answer) registers {
	return func(context.Context, string, string) (*Answer, error) { return a, nil }
}

func answered(name, text string) AnsweredVariable {
	return AnsweredVariable{Name: name, Value: json.RawMessage(text)}
}

func TestASourceGivesHostsGroupsAndVariables(t *testing.T) {
	unpack(t, "-- r.yml --\nplugin: register\nsite: east\n-- h.yml --\nweb: {hosts: {b: {port: 2}}, vars: {color: red}}\n")
	a := hosts("a")
	a.Hosts[0].Vars = []AnsweredVariable{answered("port", "1"), answered("list", `["{{ .x }}", 2.50]`)}
	a.Groups = []AnsweredGroup{
		{Name: "web", Hosts: []string{"b", "c"}, Vars: []AnsweredVariable{answered("color", `"blue"`), answered("ansible_group_priority", "3")}},
		{Name: "east", Children: []string{"web"}},
	}
	var asked string
	inv, problems := Load(t.Context(), Options{Sources: []string{"r.yml", "h.yml"}, Plugins: registers(func(_ context.Context, file, options string) (*Answer, error) {
		asked = file + " " + options
		return a, nil
	})})
	require.NoError(t, problems.Err())
	assert.True(t, strings.HasPrefix(asked, "/") && strings.HasSuffix(asked, `/r.yml {"site":"east"}`), asked)
	var all []string
	for _, h := range inv.Hosts() {
		all = append(all, describe(h))
	}
	assert.Equal(t, []string{`a [ungrouped] list=["{{ .x }}",2.5] port=1`, `b [east web] color="red" port=2`, `c [east web] color="red"`}, all)
}

func TestWhatASourceAnswersIsRefusedAtItsPlace(t *testing.T) {
	group := func(gs ...AnsweredGroup) registers { return answers(&Answer{Groups: gs}) }
	for _, test := range []struct {
		name, file string
		plugins    Plugins
		want       string
	}{
		{"a group below itself", "plugin: register\n", group(AnsweredGroup{Name: "a", Children: []string{"a"}}), "r.yml:1:1: plugin register answers nonsense: the group a would be below itself: a → a (the plugin has to be mended)"},
		{"a circle of groups", "plugin: register\n", group(AnsweredGroup{Name: "a", Children: []string{"b"}}, AnsweredGroup{Name: "b", Children: []string{"a"}}),
			"r.yml:1:1: plugin register answers nonsense: the group a would be below itself: b → a → b (the plugin has to be mended)"},
		{"all as a child", "plugin: register\n", group(AnsweredGroup{Name: "a", Children: []string{"all"}}), "r.yml:1:1: plugin register answers nonsense: all is above every group and cannot be a child of a (the plugin has to be mended)"},
		{"a priority that is no number", "plugin: register\n", group(AnsweredGroup{Name: "a", Vars: []AnsweredVariable{answered("ansible_group_priority", `"high"`)}}),
			`r.yml:1:1: plugin register answers nonsense: group a: ansible_group_priority is "high", which is no whole number (the plugin has to be mended)`},
		{"an option that there is not", "plugin: register\nstie: x\n", answers(nil), `r.yml:2:1: plugin register takes no option "stie" (did you mean "site"?)`},
		{"an option that it blames", "plugin: register\nsite: x\n", registers(func(context.Context, string, string) (*Answer, error) {
			return nil, &modules.ArgumentError{Arg: "site", Problem: "argument site: there is no site x", Hint: "sites are east and west"}
		}), "r.yml:2:7: plugin register: option site: there is no site x (sites are east and west)"},
		{"an error", "plugin: register\n", registers(func(context.Context, string, string) (*Answer, error) {
			return nil, errors.New("plugin register: died (signal: killed)")
		}),
			"r.yml:1:1: plugin register: died (signal: killed) (pegbook inventory list -i r.yml tries it again)"},
		{"another name", "plugin: registry\n", answers(nil), `r.yml:1:1: there is no inventory plugin "registry" (did you mean "register"?)`},
		{"no plugins at all", "plugin: register\n", nil, `r.yml:1:1: there is no inventory plugin "register" (use a script that prints JSON)`},
	} {
		t.Run(test.name, func(t *testing.T) {
			unpack(t, "-- r.yml --\n"+test.file)
			assert.Contains(t, said(t, t.Context(), Options{Sources: []string{"r.yml"}, Plugins: test.plugins, Vault: vault.NewKeyring(&secret.Set{})}), test.want)
		})
	}
}

// A source that says nothing is given up after a time that scripts have, too.
func TestASourceThatDoesNotAnswerIsGivenUp(t *testing.T) {
	unpack(t, "-- r.yml --\nplugin: register\n")
	frozen := registers(func(ctx context.Context, _, _ string) (*Answer, error) {
		<-ctx.Done()
		return nil, fmt.Errorf("plugin register: %w", context.Cause(ctx))
	})
	began := time.Now()
	assert.Contains(t, said(t, t.Context(), Options{Sources: []string{"r.yml"}, Plugins: frozen, ScriptLimit: 100 * time.Millisecond}), "r.yml:1:1: plugin register: took longer than 100ms")
	assert.Less(t, time.Since(began), 20*time.Second)
	ctx, stop := context.WithCancelCause(t.Context())
	stop(errors.New("interrupted"))
	assert.Contains(t, said(t, ctx, Options{Sources: []string{"r.yml"}, Plugins: frozen}), "r.yml:1:1: plugin register: interrupted")
}

// What a source says is secret is masked, and so is all that an encrypted file leads to; digests tell nothing of it.
func TestSecretVariablesOfASourceAreSecretEverywhere(t *testing.T) {
	unpack(t, "-- r.yml --\nplugin: register\nkey: k3y-of-the-register\n")
	a := hosts("h")
	a.Hosts[0].Vars = []AnsweredVariable{{Name: "token", Value: json.RawMessage(`{"of": ["t0ken-of-h"]}`), Secret: true}, answered("port", "4711")}
	a.Groups = []AnsweredGroup{{Name: "g", Vars: []AnsweredVariable{{Name: "pass", Value: json.RawMessage(`"p4ss-of-g"`), Secret: true}}}}
	secrets := &secret.Set{}
	told := map[string]string{}
	_, problems := Load(t.Context(), Options{Sources: []string{"r.yml"}, Plugins: answers(a), Vault: vault.NewKeyring(secrets),
		Read: func(path string, text []byte) { told[path] = string(text) }})
	require.NoError(t, problems.Err())
	for _, text := range []string{"k3y-of-the-register", "t0ken-of-h", "p4ss-of-g"} {
		assert.NotContains(t, secrets.Text("it is "+text), text)
		assert.NotContains(t, told["r.yml (plugin register)"], text)
	}
	assert.Contains(t, secrets.Text("port 4711"), "4711")
	assert.Contains(t, told["r.yml (plugin register)"], "4711")
}
