package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/plugins"
	"github.com/pegbook/pegbook/plugins/plugintest"
)

// registerOptions are those of the source that the table below breaks, one rule at a time.
type registerOptions struct {
	Server string   `arg:"server" doc:"the server that has the register, host:port"`
	Hosts  []string `arg:"hosts,required" doc:"the hosts where there is no server"`
	Token  string   `arg:"token,secret" doc:"what the server asks for"`
	Group  string   `arg:"group" default:"registered" doc:"their group"`
}

const registerPage = `Hosts of a register

Asks a server for them.

    # hosts.yml
    plugin: register
    hosts: [a, b, c, d]
    token: t0ken`

const registerServerPage = `Hosts of a register

Asks a server for them.

    # hosts.yml
    plugin: register
    server: register.example.org:4711
    hosts: []
    token: t0ken`

type registerAnswer = func(ctx context.Context, q plugins.Question, o registerOptions) (*plugins.Inventory, error)

// answerHosts answers as a source should.
func answerHosts(ctx context.Context, _ plugins.Question, o registerOptions) (*plugins.Inventory, error) {
	if o.Server != "" {
		if err := askServer(ctx, o); err != nil {
			return nil, fmt.Errorf("server %s: %w", o.Server, err)
		}
	}
	inv := &plugins.Inventory{}
	for i, name := range o.Hosts {
		inv.Host(name).Vars.Set("rack", i)
		inv.Host(name).Vars.SetSecret("register_token", o.Token)
	}
	inv.Group(o.Group).Hosts = o.Hosts
	return inv, nil
}

// askServer waits for the first byte of a server.
func askServer(ctx context.Context, o registerOptions) error {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", o.Server)
	if err != nil {
		return err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	if _, err := c.Read(make([]byte, 1)); err != nil && ctx.Err() == nil {
		return err
	}
	return ctx.Err()
}

// changedAnswer is answerHosts with another answer.
func changedAnswer(change func(inv *plugins.Inventory, o registerOptions) error) registerAnswer {
	return func(ctx context.Context, q plugins.Question, o registerOptions) (*plugins.Inventory, error) {
		inv, err := answerHosts(ctx, q, o)
		if err == nil {
			err = change(inv, o)
		}
		return inv, err
	}
}

func registerSource(answer registerAnswer) *plugins.Source {
	return plugins.DefineSource("register", registerPage, answer)
}

func TestPluginTestFindsNothingWrongWithASoundSource(t *testing.T) {
	require.Empty(t, failedChecks(t, registerSource(answerHosts)))
	require.Empty(t, failedChecks(t, plugins.DefineSource("register", registerServerPage, answerHosts),
		plugintest.Case{Name: "two", Source: "register", Options: json.RawMessage(`{"hosts": ["x", "y"]}`), Hosts: []string{"x", "y"}},
		plugintest.Case{Name: "down", Source: "register", Options: json.RawMessage(`{"hosts": [], "server": "127.0.0.1:1"}`), Error: "refused"}))
}

// Each source breaks one rule; the finding tells its author what to mend.
func TestPluginTestFindsWhatIsWrongWithSources(t *testing.T) {
	n := 0
	for _, c := range []struct {
		name   string
		source *plugins.Source
		want   string
	}{
		{"another answer each time", registerSource(changedAnswer(func(inv *plugins.Inventory, _ registerOptions) error {
			n++
			inv.Host("a").Vars.Set("asked", n)
			return nil
		})), "asked again it answers something else"},
		{"it writes beside its file", registerSource(func(ctx context.Context, q plugins.Question, o registerOptions) (*plugins.Inventory, error) {
			if err := os.WriteFile(filepath.Join(filepath.Dir(q.File), "cache"), nil, 0o600); err != nil {
				return nil, err
			}
			return answerHosts(ctx, q, o)
		}), "a source changes nothing"},
		{"cancelling is not noticed", plugins.DefineSource("register", registerServerPage, func(ctx context.Context, q plugins.Question, o registerOptions) (*plugins.Inventory, error) {
			return answerHosts(context.WithoutCancel(ctx), q, o)
		}), "after it was cancelled it still holds its connection"},
		{"a secret in an error", plugins.DefineSource("register", registerServerPage, func(ctx context.Context, q plugins.Question, o registerOptions) (*plugins.Inventory, error) {
			inv, err := answerHosts(ctx, q, o)
			if err != nil {
				return nil, fmt.Errorf("with %s: %w", o.Token, err)
			}
			return inv, nil
		}), "its error shows a secret option"},
		{"a secret in a variable", registerSource(changedAnswer(func(inv *plugins.Inventory, o registerOptions) error {
			inv.Host("a").Vars.Set("register_token", o.Token)
			return nil
		})), "where it is not a variable that was set with SetSecret, shows a secret option"},
		{"a secret in a name", registerSource(changedAnswer(func(inv *plugins.Inventory, o registerOptions) error {
			inv.Group("of_" + o.Token)
			return nil
		})), "shows a secret option"},
		{"what cannot be reached is taken for nothing", plugins.DefineSource("register", registerServerPage, func(ctx context.Context, q plugins.Question, o registerOptions) (*plugins.Inventory, error) {
			inv, err := answerHosts(ctx, q, o)
			if err != nil {
				return &plugins.Inventory{}, nil
			}
			return inv, nil
		}), "nothing that it names can be reached, and it answers that there are no hosts"},
		{"options that nobody knows are taken", func() *plugins.Source {
			s := registerSource(answerHosts)
			s.Answer = func(ctx context.Context, q plugins.Question, raw json.RawMessage) (*plugins.Inventory, error) {
				o := registerOptions{Group: "registered"}
				_ = json.Unmarshal(raw, &o)
				return answerHosts(ctx, q, o)
			}
			return s
		}(), "the unknown argument no_such_argument_at_all gives no error, and not an argument error"},
		{"an error without its option", func() *plugins.Source {
			s := registerSource(answerHosts)
			answer := s.Answer
			s.Answer = func(ctx context.Context, q plugins.Question, raw json.RawMessage) (*plugins.Inventory, error) {
				inv, err := answer(ctx, q, raw)
				if wrong := (*modules.ArgumentError)(nil); errors.As(err, &wrong) {
					return nil, &modules.ArgumentError{Problem: "something is wrong"}
				}
				return inv, err
			}
			return s
		}(), "gives an error that does not name it"},
		{"an option that it does not have is blamed", registerSource(func(context.Context, plugins.Question, registerOptions) (*plugins.Inventory, error) {
			return nil, &modules.ArgumentError{Arg: "sever", Problem: "argument sever is wrong"}
		}), `it blames the option "sever", which it does not have`},
		{"a wrong name", registerSource(changedAnswer(func(inv *plugins.Inventory, _ registerOptions) error {
			inv.Host("a b")
			return nil
		})), `"a b" is no name of a host`},
		{"groups below themselves", registerSource(changedAnswer(func(inv *plugins.Inventory, _ registerOptions) error {
			inv.Group("east").Children = []string{"west"}
			inv.Group("west").Children = []string{"east"}
			return nil
		})), "would be below itself: "},
		{"an option without documentation", func() *plugins.Source {
			s := registerSource(answerHosts)
			s.Options[0].Doc = ""
			return s
		}(), "option server needs a line of documentation"},
		{"no example", plugins.DefineSource("register", "Hosts of a register\n\nAsks a server.", answerHosts), "the manual page has no indented example, a file that says plugin: register"},
		{"an example that does not load", plugins.DefineSource("register", strings.Replace(registerPage, "hosts: [", "host: [", 1), answerHosts), `takes no option "host"`},
		{"an example of another plugin", plugins.DefineSource("register", strings.Replace(registerPage, "plugin: register", "plugin: registry", 1), answerHosts), "it names the plugin registry and not register"},
		{"a bug", registerSource(func(context.Context, plugins.Question, registerOptions) (*plugins.Inventory, error) {
			panic("index out of range")
		}), "bug in the plugin: index out of range"},
		{"nothing that can be tried", plugins.DefineSource("register", registerServerPage, answerHosts), "describe a case"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			require.Contains(t, failedChecks(t, c.source), c.want)
		})
	}
}

func TestCasesOfSourcesSayWhatTheyAnswer(t *testing.T) {
	for _, c := range []struct {
		name, options, err, want string
		hosts                    []string
	}{
		{"other hosts", `{"hosts": ["a"]}`, "", `it answers the hosts ["a"] and should answer ["b"]`, []string{"b"}},
		{"no error", `{"hosts": ["a"]}`, "boom", `it ends with no error and should with an error that holds "boom"`, nil},
		{"an error", `{"hosts": [], "server": "127.0.0.1:1"}`, "", "it fails: ", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Contains(t, failedChecks(t, registerSource(answerHosts),
				plugintest.Case{Name: c.name, Source: "register", Options: json.RawMessage(c.options), Error: c.err, Hosts: c.hosts}), c.want)
		})
	}
	require.Contains(t, failedChecks(t, registerSource(answerHosts), plugintest.Case{Name: "of nobody", Source: "registry"}), "the plugin has no source registry")
}

// A home folder that is the test's is watched, too.
func TestSourcesLeaveTheHomeFolderAlone(t *testing.T) {
	home := t.TempDir()
	p, err := plugins.Loopback(t.Context(), plugins.Options{}, registerSource(changedAnswer(func(*plugins.Inventory, registerOptions) error {
		return os.WriteFile(filepath.Join(home, ".register-cache"), []byte(time.Now().String()), 0o600)
	})))
	require.NoError(t, err)
	defer p.Close()
	var wrong []string
	s := plugintest.Suite{Home: home, Report: func(c plugintest.Check) { wrong = append(wrong, c.Problem) }}
	holdTo(t.Context(), p, &s)
	require.Equal(t, 1, s.Run(t.Context()))
	require.Contains(t, strings.Join(wrong, "\n"), "it writes "+home+"/.register-cache")
}

// What a plugin writes to its output is kept as long as it runs, and shown when it fails.
func TestSecretsAreLookedForInTheOutput(t *testing.T) {
	p, err := plugins.Loopback(t.Context(), plugins.Options{}, registerSource(answerHosts))
	require.NoError(t, err)
	defer p.Close()
	var wrong []string
	s := plugintest.Suite{Report: func(c plugintest.Check) { wrong = append(wrong, c.Problem) }}
	holdTo(t.Context(), p, &s)
	s.Said = func() string { return "asking with t0ken" }
	require.Positive(t, s.Run(t.Context()))
	require.Contains(t, strings.Join(wrong, "\n"), "what it writes to its output shows a secret option")
}
