package plugins

import (
	"bytes"
	"encoding/json"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/modtest"
	"github.com/pegbook/pegbook/plugins/wire"
)

// conversationOf is a conversation as bytes: frames with their lengths before them.
func conversationOf(t testing.TB, frames ...*wire.Frame) []byte {
	t.Helper()
	var b bytes.Buffer
	for _, f := range frames {
		_, err := protodelim.MarshalTo(&b, f)
		require.NoError(t, err)
	}
	return b.Bytes()
}

// FuzzFrames lets a plugin say anything in a task: the task ends, and what comes of it is a proposal that can be used.
func FuzzFrames(f *testing.F) {
	f.Add(conversationOf(f, proposed(&wire.Proposed{Output: []byte(`{"a":1}`), Diff: []*wire.Diff{{Subject: "x"}}, Facts: map[string][]byte{"a": []byte("1")}, FactRank: "found"})))
	f.Add(conversationOf(f, proposed(&wire.Proposed{OnlyChanges: true, Changes: []*wire.Change{{Kind: "write", Path: "/x", Content: &wire.Content{Size: 1, Inline: []byte("x")}}}})))
	f.Add(conversationOf(f, proposed(&wire.Proposed{Leaves: []*wire.Change{{Content: &wire.Content{Size: -1, Number: 1, AsIs: &wire.Content{Size: -9, Number: 2}}}}})))
	f.Add(conversationOf(f, proposed(&wire.Proposed{Does: true}), &wire.Frame{Id: 2, Body: &wire.Frame_Done{Done: &wire.Done{Error: &wire.Error{
		Message: "no", Kinds: []wire.Error_Kind{1, 99}, Exit: &wire.Error_Exit{}, File: &wire.Error_FileError{}}}}}))
	f.Add(conversationOf(f, &wire.Frame{Id: 9, Body: &wire.Frame_Look{Look: &wire.Look{Queries: []*wire.Look_Query{{Path: "/", List: true}}}}},
		&wire.Frame{Id: 9, Body: &wire.Frame_Propose{Propose: &wire.Propose{}}}, &wire.Frame{Body: &wire.Frame_Note{Note: "\x1b"}},
		&wire.Frame{Body: &wire.Frame_Progress{Progress: &wire.Progress{Phase: "p", Counts: []*wire.Progress_Count{{Name: "n", Left: -1}}}}}, proposed(nil)))
	var saying []byte
	p, err := loopback(f.Context(), Options{Silence: time.Second}, &hostile{task: func(stream conversation) error {
		if _, err := stream.Recv(); err != nil {
			return err
		}
		for r := bytes.NewReader(saying); ; {
			frame := &wire.Frame{}
			if protodelim.UnmarshalFrom(r, frame) != nil || stream.Send(frame) != nil {
				return nil
			}
		}
	}})
	require.NoError(f, err)
	f.Cleanup(func() { _ = p.Close() })
	f.Fuzz(func(t *testing.T, said []byte) {
		saying = said
		proposal, err := p.Modules()[0].Propose(t.Context(), &modules.Call{Host: modtest.NewMachine("h"), Note: func(string, ...any) {}}, nil)
		if err != nil || proposal == nil {
			return
		}
		if proposal.Output != nil {
			_, err := json.Marshal(proposal.Output)
			require.NoError(t, err)
		}
		for _, c := range append(proposal.Leaves, proposal.Changes...) {
			if c.Content != nil {
				require.GreaterOrEqual(t, c.Content.Size(), int64(0))
				readAll(c.Content)
			}
		}
		if proposal.Do != nil {
			_ = proposal.Do(t.Context(), modtest.NewMachine("h"))
		}
	})
}

func readAll(source modules.Source) {
	if r, err := source.Open(); err == nil {
		_, _ = io.Copy(io.Discard, r)
		_ = r.Close()
	}
}

// FuzzDescription lets a plugin describe itself as anything: what is taken can be shown and asked for.
func FuzzDescription(f *testing.F) {
	for _, d := range []*wire.Description{
		{Modules: []*wire.Module{{Name: "m", Doc: "M", Args: []*wire.Arg{{Name: "a", Type: "int", Default: "1", Min: "0"}}, Output: &wire.Shape{Elem: &wire.Shape{}, Fields: map[string]*wire.Shape{"x": nil}}}}},
		{Sources: []*wire.Source{{Name: "s", Doc: "S", Options: []*wire.Arg{{Name: "a", Type: "list", Elem: "map", Default: "{"}}}}},
		{Notifiers: []*wire.Notifier{{Name: "n", Doc: "\x1b[2J"}}, Minor: 9},
	} {
		raw, err := proto.Marshal(d)
		require.NoError(f, err)
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var d wire.Description
		p := &Plugin{name: "p"}
		if proto.Unmarshal(raw, &d) != nil || p.take(t.Context(), &d) != nil {
			return
		}
		for _, m := range p.modules {
			require.Regexp(t, partName, m.Name)
			require.True(t, plain(m.Doc+m.Title()))
		}
	})
}

// FuzzInventoryAnswer lets a source answer anything: names that are taken are names, and values JSON.
func FuzzInventoryAnswer(f *testing.F) {
	v := []*wire.InventoryAnswer_Variable{{Name: "a", Value: []byte("1"), Secret: true}}
	for _, a := range []*wire.InventoryAnswer{
		{Hosts: []*wire.InventoryAnswer_Host{{Name: "h1", Vars: v}}, Groups: []*wire.InventoryAnswer_Group{{Name: "g", Hosts: []string{"h1", "h2"}, Children: []string{"g"}, Vars: v}}},
		{Hosts: []*wire.InventoryAnswer_Host{{Name: "-oProxyCommand=x"}, {Name: "\u202e"}}},
	} {
		raw, err := proto.Marshal(a)
		require.NoError(f, err)
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var a wire.InventoryAnswer
		if proto.Unmarshal(raw, &a) != nil {
			return
		}
		inv, err := inventoryFromWire(&a)
		if err != nil {
			return
		}
		again := inventoryToWire(inv)
		require.Len(t, again.Hosts, len(a.Hosts))
		require.Len(t, again.Groups, len(a.Groups))
		for _, h := range inv.Hosts {
			require.NotRegexp(t, `^-|[\s\x00-\x1f/,\[\]!&*?]`, h.Name)
			for _, v := range h.Vars {
				require.True(t, json.Valid(v.Value))
			}
		}
	})
}

// FuzzLock reads any text as pegbook.lock: nothing in it leads out of its folder.
func FuzzLock(f *testing.F) {
	f.Add([]byte(`{"plugins":[{"file":"plugins/a","sha256":"` + sumOf(nil) + `","modules":["m"],"env":["X"]}]}`))
	f.Add([]byte(`{"plugins":[{"file":"../a","sha256":""}]} x`))
	f.Fuzz(func(t *testing.T, text []byte) {
		lock, err := parseLock("pegbook.lock", text)
		if err != nil {
			require.NotContains(t, err.Error(), "\n")
			return
		}
		for _, pin := range lock.Plugins {
			require.NotContains(t, pin.File, "..")
			require.Len(t, pin.SHA256, 64)
			found, ok := lock.Of(pin.File)
			require.True(t, ok)
			require.Equal(t, pin.SHA256, found.SHA256)
		}
	})
}
