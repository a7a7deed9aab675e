package plugins

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/modtest"
	"github.com/pegbook/pegbook/plugins/wire"
)

// hostile is a plugin that keeps to no protocol.
type hostile struct {
	wire.UnimplementedPluginServer
	mute bool
	task func(stream grpc.BidiStreamingServer[wire.Frame, wire.Frame]) error
}

func (h *hostile) Describe(ctx context.Context, _ *wire.DescribeRequest) (*wire.Description, error) {
	if h.mute {
		<-ctx.Done()
		time.Sleep(200 * time.Millisecond) // this side's clock may be the quicker one
	}
	return &wire.Description{Modules: []*wire.Module{{Name: "evil", Doc: "Evil"}}}, nil
}

func (h *hostile) Task(stream grpc.BidiStreamingServer[wire.Frame, wire.Frame]) error {
	return h.task(stream)
}

type conversation = grpc.BidiStreamingServer[wire.Frame, wire.Frame]

// answering takes the first question and sends these frames, then waits for the end.
func answering(frames ...*wire.Frame) func(conversation) error {
	return func(stream conversation) error {
		if _, err := stream.Recv(); err != nil {
			return err
		}
		for _, f := range frames {
			if err := stream.Send(f); err != nil {
				return err
			}
		}
		<-stream.Context().Done()
		return nil
	}
}

func proposed(p *wire.Proposed) *wire.Frame {
	return &wire.Frame{Id: 1, Body: &wire.Frame_Proposed{Proposed: p}}
}

func TestNonsenseFailsTheTaskAndNamesThePlugin(t *testing.T) {
	for _, c := range []struct {
		name string
		task func(conversation) error
		want string
	}{
		{"an answer to another question", answering(value(nil, true), proposed(&wire.Proposed{})), ""},
		{"an answer of another kind", answering(&wire.Frame{Id: 1, Body: &wire.Frame_Data{Data: &wire.Data{}}}), "plugin loopback: answers nonsense"},
		{"an answer twice", answering(proposed(&wire.Proposed{}), proposed(&wire.Proposed{})), ""},
		{"an empty proposal", answering(proposed(nil)), ""},
		{"a result that is no object", answering(proposed(&wire.Proposed{Output: []byte("[1]")})), "answers nonsense: the answer does not fit the question: its result is no object"},
		{"a result that is no JSON", answering(proposed(&wire.Proposed{Output: []byte("{")})), "its result is no object"},
		{"content that it does not have", answering(proposed(&wire.Proposed{OnlyChanges: true, Changes: []*wire.Change{{Kind: "write", Path: "/x", Content: &wire.Content{Size: 9}}}})), "has 0 bytes and should have 9"},
		{"content that pegbook does not have", answering(proposed(&wire.Proposed{Leaves: []*wire.Change{{Content: &wire.Content{Number: 7, Yours: true}}}})), "there is no content number 7"},
		{"content of less than nothing", answering(proposed(&wire.Proposed{OnlyChanges: true, Changes: []*wire.Change{{Kind: "write", Path: "/x", Content: &wire.Content{Name: "c", Number: 1, Size: -9}}}})), "content c has -9 bytes"},
		{"a rank of facts that there is not", answering(proposed(&wire.Proposed{FactRank: "divine"})), "answers nonsense: the answer does not fit the question: there is no rank of facts \"divine\""},
		{"an early end", func(conversation) error { return nil }, "plugin loopback: has ended"},
		{"an error of gRPC", func(conversation) error { return fmt.Errorf("boom") }, "plugin loopback: gave up: boom"},
		{"a message without end", answering(proposed(&wire.Proposed{Message: strings.Repeat("x", maxMessage+1)})), "plugin loopback: "},
		{"silence", answering(), "plugin loopback: has said nothing for 1s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := loopback(t.Context(), Options{Silence: time.Second}, &hostile{task: c.task})
			require.NoError(t, err)
			defer p.Close()
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			_, err = p.Modules()[0].Propose(ctx, &modules.Call{Host: modtest.NewMachine("h"), Note: func(string, ...any) {}}, nil)
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestPluginThatDoesNotDescribeItselfIsNamed(t *testing.T) {
	_, err := loopback(t.Context(), Options{Start: 100 * time.Millisecond}, &hostile{mute: true})
	var e *Error
	require.ErrorAs(t, err, &e)
	require.EqualError(t, err, "plugin loopback: has not said what it has within 100ms")
}

// ask asks pegbook everything that it should not be asked, and gives the answers.
func TestQuestionsOutOfPlaceAreRefused(t *testing.T) {
	questions := []*wire.Frame{
		{Body: &wire.Frame_Look{Look: &wire.Look{Doing: true}}},
		{Body: &wire.Frame_Run{Run: &wire.Run{}}},
		{Body: &wire.Frame_Apply{Apply: &wire.Apply{Changes: []*wire.Change{{Kind: "write", Path: "/x"}}}}},
		{Body: &wire.Frame_Apply{Apply: &wire.Apply{Changes: []*wire.Change{{Kind: "explode"}}}}},
		{Body: &wire.Frame_OpenFile{OpenFile: &wire.OpenFile{}}},
		{Body: &wire.Frame_Run{Run: &wire.Run{Doing: true, Command: &wire.Command{Argv: []string{"rm"}}}}},
		{Body: &wire.Frame_Job{Job: &wire.Job{Id: "x"}}},
		{Body: &wire.Frame_Read{Read: &wire.Read{Stream: 9, Max: 1 << 60}}},
		{Body: &wire.Frame_Write{Write: &wire.Write{Stream: 9}}},
		{Body: &wire.Frame_Sum{Sum: &wire.Sum{Number: 9}}},
		{Body: &wire.Frame_OpenContent{OpenContent: &wire.OpenContent{Number: 9}}},
		{Body: &wire.Frame_Propose{Propose: &wire.Propose{}}},
		{},
	}
	answers := make(chan *wire.Frame, len(questions))
	p, err := loopback(t.Context(), Options{}, &hostile{task: func(stream conversation) error {
		if _, err := stream.Recv(); err != nil {
			return err
		}
		_ = stream.Send(&wire.Frame{Body: &wire.Frame_Close{Close: 9}})
		_ = stream.Send(&wire.Frame{Body: &wire.Frame_Cancel{Cancel: 9}})
		for i, q := range questions {
			q.Id = uint64(i + 1)
			if err := stream.Send(q); err != nil {
				return err
			}
			f, err := stream.Recv()
			if err != nil {
				return err
			}
			answers <- f
		}
		return stream.Send(proposed(&wire.Proposed{}))
	}})
	require.NoError(t, err)
	defer p.Close()
	host := modtest.NewMachine("h")
	_, err = p.Modules()[0].Propose(t.Context(), &modules.Call{Host: host}, nil)
	require.NoError(t, err)
	for i := range questions {
		f := <-answers
		require.Equal(t, uint64(i+1), f.Id)
		require.NotEmpty(t, f.GetError().GetMessage(), "question %d is answered with %v", i, f)
	}
	require.Empty(t, host.Runs())
}

// A question that is asked again while it is being answered must not go uncounted.
func TestQuestionsOfOneNumberAreBounded(t *testing.T) {
	refused := make(chan string, 1)
	p, err := loopback(t.Context(), Options{}, &hostile{task: func(stream conversation) error {
		if _, err := stream.Recv(); err != nil {
			return err
		}
		for range 2 {
			if err := stream.Send(&wire.Frame{Id: 1, Body: &wire.Frame_Run{Run: &wire.Run{Command: &wire.Command{Argv: []string{"sleep"}}}}}); err != nil {
				return err
			}
		}
		f, err := stream.Recv()
		if err != nil {
			return err
		}
		refused <- f.GetError().GetMessage()
		return stream.Send(proposed(&wire.Proposed{}))
	}})
	require.NoError(t, err)
	defer p.Close()
	host := slowHost{ended: make(chan error, 2)}
	_, err = p.Modules()[0].Propose(t.Context(), &modules.Call{Host: host}, nil)
	require.NoError(t, err)
	require.Equal(t, "question 1 is asked already", <-refused)
	require.Len(t, host.ended, 1)
}

// What pegbook refuses is not under way, and a plugin that falls silent behind it has fallen silent.
func TestARefusedQuestionDoesNotExcuseSilence(t *testing.T) {
	p, err := loopback(t.Context(), Options{Silence: 300 * time.Millisecond}, &hostile{task: answering(&wire.Frame{Id: 9, Body: &wire.Frame_Propose{Propose: &wire.Propose{}}})})
	require.NoError(t, err)
	defer p.Close()
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	_, err = p.Modules()[0].Propose(ctx, &modules.Call{Host: modtest.NewMachine("h")}, nil)
	require.ErrorContains(t, err, "has said nothing for 300ms")
}

func TestProgressIsBounded(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	said := make(chan modules.Progress, 1)
	counts := make([]*wire.Progress_Count, 10_000)
	for i := range counts {
		counts[i] = &wire.Progress_Count{Name: "n", Left: int64(i)}
	}
	counts[0].Name = long
	p, err := loopback(t.Context(), Options{}, &hostile{task: answering(
		&wire.Frame{Body: &wire.Frame_Progress{Progress: &wire.Progress{Phase: long, Detail: long, Counts: counts}}}, proposed(&wire.Proposed{}))})
	require.NoError(t, err)
	defer p.Close()
	_, err = p.Modules()[0].Propose(t.Context(), &modules.Call{Host: modtest.NewMachine("h"), Report: func(p modules.Progress) { said <- p }}, nil)
	require.NoError(t, err)
	require.Less(t, len((<-said).String()), 4*maxNote)
}

func TestQuestionsAtATimeAreBounded(t *testing.T) {
	refused := make(chan int, 1)
	p, err := loopback(t.Context(), Options{}, &hostile{task: func(stream conversation) error {
		if _, err := stream.Recv(); err != nil {
			return err
		}
		for i := range 2 * maxAtOnce {
			if err := stream.Send(&wire.Frame{Id: uint64(i + 1), Body: &wire.Frame_Run{Run: &wire.Run{Command: &wire.Command{Argv: []string{"sleep"}}}}}); err != nil {
				return err
			}
		}
		n := 0
		for range maxAtOnce {
			f, err := stream.Recv()
			if err != nil {
				return err
			}
			if strings.Contains(f.GetError().GetMessage(), "questions at a time") {
				n++
			}
		}
		refused <- n
		return stream.Send(proposed(&wire.Proposed{}))
	}})
	require.NoError(t, err)
	defer p.Close()
	host := slowHost{ended: make(chan error, 2*maxAtOnce)}
	_, err = p.Modules()[0].Propose(t.Context(), &modules.Call{Host: host}, nil)
	require.NoError(t, err)
	require.Equal(t, maxAtOnce, <-refused)
	require.Len(t, host.ended, maxAtOnce, "what the host was doing for the task has been cancelled")
}
