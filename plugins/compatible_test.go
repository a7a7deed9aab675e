package plugins

import (
	"context"
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/modtest"
	"github.com/pegbook/pegbook/plugins/wire"
)

// older is a plugin that was built when the protocol was 1.0: it describes itself by the bytes that were recorded then,
// and knows no question that has been added since.
type older struct {
	wire.UnimplementedPluginServer
	modules     *server
	description *wire.Description
}

func (o *older) Task(stream grpc.BidiStreamingServer[wire.Frame, wire.Frame]) error {
	return o.modules.Task(stream)
}

func (o *older) Describe(context.Context, *wire.DescribeRequest) (*wire.Description, error) {
	return o.description, nil
}

// TestADescriptionOfProtocol10IsTaken: modules that were described by the first version of the protocol are used as they were.
func TestADescriptionOfProtocol10IsTaken(t *testing.T) {
	raw, err := os.ReadFile("testdata/description-1.0.bin")
	require.NoError(t, err)
	var d wire.Description
	require.NoError(t, proto.Unmarshal(raw, &d))
	require.Empty(t, d.ProtoReflect().GetUnknown(), "nothing of it has got another meaning")
	require.Zero(t, d.Minor)
	probe := modules.Define("command", "Probe\n\nText", func(_ context.Context, _ *modules.Call, args struct {
		Argv []string `arg:"argv" doc:"what to run"`
	}) (*modules.Proposal, error) {
		return &modules.Proposal{Output: map[string][]string{"argv": args.Argv}}, nil
	})
	p, err := loopback(t.Context(), Options{}, &older{modules: newServer([]Part{probe}), description: &d})
	require.NoError(t, err)
	defer p.Close()
	byName := map[string]*modules.Module{}
	for _, m := range p.Modules() {
		byName[m.Name] = m
	}
	require.Len(t, byName, 4)
	require.Empty(t, p.Sources())
	require.Empty(t, p.Notifiers())

	command := byName["command"]
	require.Equal(t, "Run a program without a shell", command.Title())
	require.True(t, command.Runs)
	require.False(t, command.Keeps, "what was not there yet is not so")
	require.Nil(t, command.Restore)
	_, free := command.Args.Free()
	require.True(t, free)
	state, ok := byName["wait_for"].Args.Lookup("state")
	require.True(t, ok)
	require.Equal(t, "started", state.Default)
	require.Contains(t, state.Choices, "drained")
	src, _ := byName["template"].Args.Lookup("src")
	require.True(t, src.Required)
	require.NotNil(t, byName["template"].Reads)

	proposal, err := command.Propose(t.Context(), modtest.Setup{}.Call(modtest.NewMachine("h")), json.RawMessage(`{"argv": ["true"]}`))
	require.NoError(t, err)
	output, err := json.Marshal(proposal.Output)
	require.NoError(t, err)
	require.JSONEq(t, `{"argv": ["true"]}`, string(output))
}

// TestADescriptionIsTakenByAnOlderPegbook: what a plugin of today says stands in fields that pegbook 1.0 passes over, or
// that meant the same to it.
func TestADescriptionIsTakenByAnOlderPegbook(t *testing.T) {
	d, err := newServer([]Part{testModules()[0], testSource()}).Describe(t.Context(), &wire.DescribeRequest{Pegbook: "v1.0", Minor: 0})
	require.NoError(t, err)
	raw, err := proto.Marshal(d)
	require.NoError(t, err)
	known := (&wire.Description{}).ProtoReflect().Descriptor().Fields()
	require.EqualValues(t, "modules", known.ByNumber(1).Name(), "the only field that 1.0 had")
	var modules10 wire.Description
	require.NoError(t, proto.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(raw, &modules10))
	require.Equal(t, testModules()[0].Name, modules10.Modules[0].Name)
}
