package plugins

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/plugins/wire"
)

type sourceOptions struct {
	How string `arg:"how,required" doc:"what to do"`
}

func testSource() *Source {
	return DefineSource("places", "Places\n\nOf hosts.", func(ctx context.Context, q Question, o sourceOptions) (*Inventory, error) {
		switch o.How {
		case "wrong":
			return nil, &modules.ArgumentError{Arg: "how", Problem: "argument how is wrong", Hint: "mend it"}
		case "panic":
			panic("too hard")
		case "wait":
			<-ctx.Done()
			return nil, context.Cause(ctx)
		}
		inv := &Inventory{}
		inv.Host("h1").Vars.Set("port", 22)
		inv.Host("h1").Vars.SetSecret("key", "s3cret")
		inv.Group("web").Hosts = []string{"h1"}
		inv.Group("web").Vars.Set("file", q.File)
		return inv, nil
	})
}

// TestSourceAcrossTheWire: answers, kinds of errors, bugs and cancellation reach pegbook as they are.
func TestSourceAcrossTheWire(t *testing.T) {
	p, err := loopback(t.Context(), Options{}, newServer([]Part{testSource()}))
	require.NoError(t, err)
	defer p.Close()
	s := p.Sources()[0]
	require.Equal(t, testSource().Options.Names(), s.Options.Names())
	inv, err := s.Answer(t.Context(), Question{File: "/f"}, json.RawMessage(`{"how": "well"}`))
	require.NoError(t, err)
	require.Equal(t, Variables{{"port", json.RawMessage("22"), false}, {"key", json.RawMessage(`"s3cret"`), true}}, inv.Hosts[0].Vars)
	require.Equal(t, []string{"h1"}, inv.Groups[0].Hosts)
	require.JSONEq(t, `"/f"`, string(inv.Groups[0].Vars[0].Value))

	var wrong *modules.ArgumentError
	_, err = s.Answer(t.Context(), Question{}, json.RawMessage(`{"how": "wrong"}`))
	require.ErrorAs(t, err, &wrong)
	require.Equal(t, "how", wrong.Arg)
	_, err = s.Answer(t.Context(), Question{}, json.RawMessage(`{}`))
	require.ErrorAs(t, err, &wrong)
	_, err = s.Answer(t.Context(), Question{}, json.RawMessage(`{"how": "panic"}`))
	require.ErrorContains(t, err, "bug in the plugin: too hard")
	ctx, stop := context.WithCancelCause(t.Context())
	stop(errors.New("enough"))
	_, err = s.Answer(ctx, Question{}, json.RawMessage(`{"how": "wait"}`))
	require.ErrorContains(t, err, "enough")
}

// hostileSource answers what it likes.
type hostileSource struct {
	wire.UnimplementedPluginServer
	answer *wire.InventoryAnswer
	heard  []*wire.Heard
}

func (h *hostileSource) Describe(context.Context, *wire.DescribeRequest) (*wire.Description, error) {
	return &wire.Description{Minor: Minor, Sources: []*wire.Source{{Name: "evil", Doc: "Evil"}}, Notifiers: []*wire.Notifier{{Name: "evil", Doc: "Evil"}}}, nil
}

func (h *hostileSource) Inventory(context.Context, *wire.InventoryRequest) (*wire.InventoryAnswer, error) {
	return h.answer, nil
}

func (h *hostileSource) Notify(stream grpc.BidiStreamingServer[wire.Told, wire.Heard]) error {
	for _, m := range h.heard {
		if err := stream.Send(m); err != nil {
			return err
		}
	}
	return nil
}

func TestHostileAnswersAreRefusedWithOneMessage(t *testing.T) {
	host := func(name string, vs ...*wire.InventoryAnswer_Variable) *wire.InventoryAnswer {
		return &wire.InventoryAnswer{Hosts: []*wire.InventoryAnswer_Host{{Name: name, Vars: vs}}}
	}
	group := func(g *wire.InventoryAnswer_Group) *wire.InventoryAnswer {
		return &wire.InventoryAnswer{Groups: []*wire.InventoryAnswer_Group{g}}
	}
	value := &wire.InventoryAnswer_Variable{Name: "v", Value: []byte("1")}
	for _, c := range []struct {
		name   string
		answer *wire.InventoryAnswer
		want   string
	}{
		{"no name", host(""), `"" is no name of a host`},
		{"control characters", host("h\x1b[2J"), "is no name of a host"},
		{"an option of a command", host("-oProxyCommand=sh"), "is no name of a host"},
		{"a pattern", host("h*"), "is no name of a host"},
		{"a template", host("{{ .x }}"), "is no name of a host"},
		{"a name without end", host(strings.Repeat("h", 256)), "is no name of a host"},
		{"a host twice", &wire.InventoryAnswer{Hosts: []*wire.InventoryAnswer_Host{{Name: "h"}, {Name: "h"}}}, "host h is there twice"},
		{"a group twice", &wire.InventoryAnswer{Groups: []*wire.InventoryAnswer_Group{{Name: "g"}, {Name: "g"}}}, "group g is there twice"},
		{"a wrong name in a group", group(&wire.InventoryAnswer_Group{Name: "g", Hosts: []string{"a b"}}), `group g: "a b" is no name of a host`},
		{"a wrong name of a child", group(&wire.InventoryAnswer_Group{Name: "g", Children: []string{"a\nb"}}), "is no name of a group"},
		{"a wrong name of a variable", host("h", &wire.InventoryAnswer_Variable{Name: "a-b", Value: []byte("1")}), `"a-b" is no name of a variable`},
		{"a variable twice", host("h", value, value), "variable v is there twice"},
		{"a value that is no JSON", host("h", &wire.InventoryAnswer_Variable{Name: "v", Value: []byte("{")}), "the value of v is no JSON"},
		{"more hosts than anybody has", &wire.InventoryAnswer{Hosts: make([]*wire.InventoryAnswer_Host, maxNames+1)}, "are more than 100000"},
		{"a message without end", host("h", &wire.InventoryAnswer_Variable{Name: "v", Value: []byte(`"` + strings.Repeat("x", maxMessage) + `"`)}), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := loopback(t.Context(), Options{}, &hostileSource{answer: c.answer})
			require.NoError(t, err)
			defer p.Close()
			_, err = p.Sources()[0].Answer(t.Context(), Question{}, nil)
			require.ErrorContains(t, err, "plugin loopback: answers nonsense: ")
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestNotifiersThatAnswerNonsenseDoNotBegin(t *testing.T) {
	for _, c := range []struct {
		name  string
		heard []*wire.Heard
		want  string
	}{
		{"nothing", nil, "it ended before it had begun to listen"},
		{"something else", []*wire.Heard{{}}, "it does not say whether it listens"},
		{"kinds without end", []*wire.Heard{{Body: &wire.Heard_Ready{Ready: &wire.Ready{Kinds: make([]string, maxKinds+1)}}}}, "it wants 1001 kinds of events"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := loopback(t.Context(), Options{}, &hostileSource{heard: c.heard})
			require.NoError(t, err)
			defer p.Close()
			_, err = p.Notifiers()[0].Begin(t.Context(), Run{}, nil)
			require.ErrorContains(t, err, "plugin loopback: answers nonsense: "+c.want)
		})
	}
}

// TestNotifierAcrossTheWire: events come as they are told, problems come back, and End waits for what is left.
func TestNotifierAcrossTheWire(t *testing.T) {
	var got []Event
	n := DefineNotifier("ear", "Ear\n\nHears.", func(_ context.Context, run Run, _ sourceOptions) (*Listener, error) {
		return &Listener{Kinds: []string{RunDone}, Tell: func(_ context.Context, e Event) error {
			got = append(got, e)
			return errors.New("heard of " + run.ID)
		}}, nil
	})
	p, err := loopback(t.Context(), Options{}, newServer([]Part{n}))
	require.NoError(t, err)
	defer p.Close()
	var problems []error
	l, err := p.Notifiers()[0].Begin(t.Context(), Run{ID: "r1", Problem: func(err error) { problems = append(problems, err) }}, json.RawMessage(`{"how": "x"}`))
	require.NoError(t, err)
	require.Equal(t, []string{RunDone}, l.Kinds)
	require.NoError(t, l.Tell(t.Context(), Event{Kind: RunDone, Line: json.RawMessage(`{"seq":7,"event":"run_done","exit_code":2,"new_field":1}`)}))
	require.NoError(t, l.End(t.Context()))
	require.Len(t, got, 1)
	require.Equal(t, 2, got[0].ExitCode)
	require.Contains(t, string(got[0].Line), "new_field")
	require.Len(t, problems, 1)
	require.ErrorContains(t, problems[0], "plugin loopback: heard of r1")
}
