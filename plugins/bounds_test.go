package plugins

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/modtest"
	"github.com/pegbook/pegbook/plugins/wire"
)

// TestWhatAModuleSaysOfItselfTravels: the runner treats a plugin's module as it would a built-in one.
func TestWhatAModuleSaysOfItselfTravels(t *testing.T) {
	fields := reflect.TypeFor[modules.Module]()
	for i := range fields.NumField() {
		if fields.Field(i).Type.Kind() != reflect.Bool {
			continue
		}
		m := &modules.Module{Name: "m", Doc: "M"}
		reflect.ValueOf(m).Elem().Field(i).SetBool(true)
		back := new(Plugin).module(t.Context(), moduleToWire(m))
		require.True(t, reflect.ValueOf(back).Elem().Field(i).Bool(), fields.Field(i).Name)
	}
}

// TestWhatATaskIsAboutTravels: tasks about the same thing are known to be such, and Restore is told of later ones.
func TestWhatATaskIsAboutTravels(t *testing.T) {
	type unitArgs struct {
		Name string `arg:"name" doc:"unit"`
	}
	unit := modules.Define("unit", "Unit\n\nText", func(context.Context, *modules.Call, unitArgs) (*modules.Proposal, error) { return nil, nil })
	unit = modules.Restoring(unit, func(_ context.Context, call *modules.Call, _ unitArgs, _ *unitArgs) (*modules.Proposal, error) {
		return &modules.Proposal{Message: fmt.Sprint("later: ", call.Later)}, nil
	})
	unit = modules.About(unit, func(args unitArgs) string {
		if args.Name == "bug" {
			panic("no such unit")
		}
		return args.Name
	})
	ctx, cancel := context.WithCancel(t.Context())
	p, err := Loopback(ctx, Options{}, unit, modules.Define("other", "Other\n\nText", func(context.Context, *modules.Call, unitArgs) (*modules.Proposal, error) { return nil, nil }))
	require.NoError(t, err)
	defer p.Close()
	m := p.Modules()[0]
	require.Nil(t, p.Modules()[1].About)
	for _, later := range []bool{false, true} {
		put, err := m.Restore(t.Context(), &modules.Call{Host: modtest.NewMachine("h"), Later: later}, json.RawMessage(`{}`), nil)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint("later: ", later), put.Message)
	}
	cancel() // the run ends, and is recorded
	for name, want := range map[string]string{"db.service": "db.service", "": "", "bug": "", "two\nlines": "", "\x1b[2J": "", strings.Repeat("x", maxAbout+1): ""} {
		args, err := json.Marshal(map[string]string{"name": name})
		require.NoError(t, err)
		require.Equal(t, want, m.About(args), "%.20q", name)
	}
	require.NoError(t, p.Close())
	require.Empty(t, m.About(json.RawMessage(`{"name": "db.service"}`)), "nobody is there to say it")
}

// filled is a value with something in every field. Sources are left out: TestContentOfAnySizeTravelsBothWays has them.
func filled[T any](t *testing.T) T {
	t.Helper()
	var v T
	fill(t, reflect.ValueOf(&v).Elem())
	return v
}

func fill(t *testing.T, v reflect.Value) {
	t.Helper()
	switch v.Type() {
	case reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(time.Unix(7, 8)))
		return
	case reflect.TypeFor[modules.FactRank]():
		v.SetString(string(modules.RankBoth))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString("text")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint32, reflect.Uint64, reflect.Uint8:
		v.SetUint(7)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem())
	case reflect.Slice:
		if v.Type() == reflect.TypeFor[[]modules.File]() {
			v.Set(reflect.ValueOf([]modules.File{{Path: "/entry"}}))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(t, v.Index(0))
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(t, key)
		fill(t, value)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(t, v.Field(i))
			}
		}
	case reflect.Interface, reflect.Func:
	default:
		t.Fatalf("what is a %s filled with?", v.Type())
	}
}

func TestEveryFieldOfTheContractCrossesTheWire(t *testing.T) {
	s := newSession(nil)
	proposal := filled[modules.Proposal](t)
	proposal.Changes, proposal.VarFiles, proposal.Before = nil, nil, json.RawMessage(`{"was":1}`)
	proposal.Leaves[0].Keep = "" // the runner's own
	w, err := s.proposedToWire(&proposal)
	require.NoError(t, err)
	gotProposal, err := s.proposedFromWire(w)
	require.NoError(t, err)
	require.Equal(t, &proposal, gotProposal)

	change := filled[modules.Change](t)
	change.Keep = ""
	gotChanges, err := s.changesFromWire(s.changesToWire([]modules.Change{change}))
	require.NoError(t, err)
	require.Equal(t, []modules.Change{change}, gotChanges)

	file := filled[modules.File](t)
	gotFiles, err := s.filesFromWire(s.filesToWire([]modules.File{file}), []modules.Query{{Content: 100}})
	require.NoError(t, err)
	require.Equal(t, []modules.File{file}, gotFiles)

	require.Equal(t, filled[modules.Query](t), queriesFromWire(queriesToWire([]modules.Query{filled[modules.Query](t)}))[0])
	require.Equal(t, filled[modules.Command](t), commandFromWire(commandToWire(filled[modules.Command](t))))
	require.Equal(t, filled[modules.Output](t), outputFromWire(outputToWire(filled[modules.Output](t))))
	require.Equal(t, filled[modules.JobState](t), s.jobFromWire(s.jobToWire(filled[modules.JobState](t))))
	require.Equal(t, filled[modules.Progress](t), progressFromWire(progressToWire(filled[modules.Progress](t))))
	require.Equal(t, filled[modules.Schema](t), schemaFromWire(schemaToWire(filled[modules.Schema](t))))
}

func TestModulesOfPluginsCanBeTakenBack(t *testing.T) {
	type was struct{ Text string }
	m := modules.Define("probe", "Probe\n\nText", func(context.Context, *modules.Call, noArgs) (*modules.Proposal, error) {
		return &modules.Proposal{Before: was{"old"}}, nil
	})
	modules.Restoring(m, func(_ context.Context, _ *modules.Call, _ noArgs, before *was) (*modules.Proposal, error) {
		if before == nil {
			return &modules.Proposal{Message: "nothing was changed"}, nil
		}
		return &modules.Proposal{Message: "puts back " + before.Text}, nil
	})
	m.Keeps = true
	p, err := Loopback(t.Context(), Options{}, m)
	require.NoError(t, err)
	defer p.Close()
	got, call := p.Modules()[0], &modules.Call{Host: failing{}}
	require.True(t, got.Keeps)
	proposal, err := got.Propose(t.Context(), call, nil)
	require.NoError(t, err)
	before, err := json.Marshal(proposal.Before)
	require.NoError(t, err)
	for want, before := range map[string]json.RawMessage{"puts back old": before, "nothing was changed": nil} {
		proposal, err := got.Restore(t.Context(), call, nil, before)
		require.NoError(t, err)
		require.Equal(t, want, proposal.Message)
	}
}

func TestTextThatIsNoUTF8IsShownAsWellAsItCanBe(t *testing.T) {
	var said []string
	m := behind(t, func(_ context.Context, call *modules.Call, _ noArgs) (*modules.Proposal, error) {
		call.Note("note \xff")
		p := &modules.Proposal{Message: "message \xff", Diff: []modules.Diff{{Subject: "/etc/latin1", Before: "caf\xe9\n", After: "café\n", Note: "\xff"}}}
		p.Do = func(context.Context, modules.Host) error { return errors.New("error \xff") }
		return p, nil
	})
	host := modtest.NewMachine("h")
	p, err := m.Propose(t.Context(), &modules.Call{Host: host, Note: func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }}, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"note \uFFFD"}, said)
	require.Equal(t, "message \uFFFD", p.Message)
	require.Equal(t, []modules.Diff{{Subject: "/etc/latin1", Before: "caf\uFFFD\n", After: "café\n", Note: "\uFFFD"}}, p.Diff)
	require.EqualError(t, p.Do(t.Context(), host), "error \uFFFD")
}

func TestWhatTheWireCannotCarryFailsOneQuestion(t *testing.T) {
	for _, c := range []struct {
		name    string
		propose proposing
		want    string
	}{
		{"a path that is no UTF-8", func(ctx context.Context, call *modules.Call, _ noArgs) (*modules.Proposal, error) {
			_, err := call.Host.Look(ctx, modules.Query{Path: "/srv/caf\xe9"})
			return nil, err
		}, "not UTF-8 cannot be told across the wire of plugins"},
		{"a name in a folder of the host that is no UTF-8", func(ctx context.Context, call *modules.Call, _ noArgs) (*modules.Proposal, error) {
			_, err := call.Host.Look(ctx, modules.Query{Path: "/srv", List: true})
			return nil, err
		}, "not UTF-8 cannot be told across the wire of plugins"},
		{"a result without end", func(context.Context, *modules.Call, noArgs) (*modules.Proposal, error) {
			return &modules.Proposal{Output: strings.Repeat("x", maxMessage)}, nil
		}, "bytes at once cannot be told across the wire of plugins: the most is"},
		{"a large result", func(context.Context, *modules.Call, noArgs) (*modules.Proposal, error) {
			return &modules.Proposal{Output: struct{ Text string }{strings.Repeat("x", maxResult)}}, nil
		}, "its result has 33554443 bytes; the most is 33554432"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := probe(t, modtest.NewMachine("h").Write("/srv/caf\xe9", ""), func(ctx context.Context, call *modules.Call, a noArgs) (*modules.Proposal, error) {
				p, err := c.propose(ctx, call, a)
				if _, again := call.Host.Look(ctx, modules.Query{Path: "/etc"}); again != nil {
					return nil, fmt.Errorf("the task has ended: %w", again)
				}
				return p, err
			})
			require.ErrorContains(t, err, c.want)
			require.NotContains(t, err.Error(), "the task has ended")
		})
	}
}

func TestNotesOfAModuleInALoopAreBounded(t *testing.T) {
	var said []string
	m := behind(t, func(_ context.Context, call *modules.Call, _ noArgs) (*modules.Proposal, error) {
		for i := range 5000 {
			call.Note("%d", i)
		}
		time.Sleep(2 * pace)
		call.Note("%s", strings.Repeat("long ", maxNote))
		return nil, nil
	})
	_, err := m.Propose(t.Context(), &modules.Call{Host: failing{}, Note: func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }}, nil)
	require.NoError(t, err)
	require.Greater(t, len(said), maxBurst)
	require.Less(t, len(said), 3*maxBurst)
	require.Regexp(t, `^\d+ notes came too fast to be shown$`, said[len(said)-2])
	require.Len(t, said[len(said)-1], maxNote+len("…"))
}

// A module that looks at a large file every second, or meets errors, runs for hours.
func TestLongTaskHoldsNoMoreThanItNeeds(t *testing.T) {
	s := newSession(nil)
	content := bytes.Repeat([]byte("x"), 10<<20)
	for range 50 {
		s.foundToWire("/var/log/large", content)
	}
	require.LessOrEqual(t, s.foundBytes, int64(maxFound))
	require.Len(t, s.contents, len(s.found))
	read := s.found[1]
	require.NotNil(t, s.openContent(read.Number).GetStream())
	require.NotNil(t, s.openContent(read.Number).GetError(), "it is kept until it is read")
	require.Len(t, s.contents, len(s.found))

	var last *wire.Error
	for n := range 2000 {
		last = s.problem(fmt.Errorf("error %d", n))
	}
	require.Len(t, s.errors, maxErrors)
	require.EqualError(t, s.errorOf(last.Number), "error 1999")
	require.EqualError(t, s.errorOf(last.Number-maxErrors+1), "error 1744")
	require.NoError(t, s.errorOf(last.Number-maxErrors))
}
