package replica

import (
	"bufio"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/lab/pegasus/internal/config"
	"github.com/pegbook/pegbook/lab/pegasus/internal/meta"
	"github.com/pegbook/pegbook/lab/pegasus/internal/peer"
)

// agreeable is a meta that records every change that it is asked for.
func agreeable(t *testing.T) peer.Addr {
	return answering(t, map[string]peer.Handler{"update_config": peer.Handle(func(_ context.Context, u peer.Update) peer.UpdateReply {
		next := u.Config.Clone()
		next.Ballot++
		next.Primary, next.Secondaries = u.Node, peer.Without(next.Secondaries, u.Node)
		return peer.UpdateReply{Err: meta.OK, Config: next}
	})})
}

// answering is a server that answers requests.
func answering(t *testing.T, handlers map[string]peer.Handler) peer.Addr {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r := bufio.NewReader(c)
			_, _ = io.CopyN(io.Discard, r, int64(len(peer.Magic)))
			go func() { _ = peer.Serve(t.Context(), r, c, handlers) }()
		}
	}()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// learner is a server that is given a copy of a partition; taught says whether
// the copy came.
func learner(t *testing.T, taught bool) (*Stub, peer.Assignment) {
	path := filepath.Join(t.TempDir(), "config.ini")
	require.NoError(t, os.WriteFile(path, []byte("[core]\ndata_dir = "+t.TempDir()+"\n[simulator]\ntime_scale = 0.01\n"), 0o644))
	c, err := config.Load(path, "")
	require.NoError(t, err)
	c.Metas = []peer.Addr{agreeable(t)}
	_, err = c.ParseDataDirs("replica")
	require.NoError(t, err)
	self := peer.Addr(c.Metas[0])
	s := New(Options{Config: c, Self: self, Start: time.Now(), Client: peer.NewClient(self), Version: "2.5.0",
		Rate: func() int64 { return 100 }, Log: func(byte, string, string, ...any) {}})
	t.Cleanup(s.Client.Close)
	s.ready, s.online = true, true
	a := peer.Assignment{Table: peer.Table{ID: 1, Name: "t", Partitions: 1, Replicas: 3}, Config: peer.Config{PID: peer.GPID{App: 1}, Ballot: 3, MaxReplicas: 3}}
	require.Equal(t, meta.OK, s.AddLearner(t.Context(), a).Err)
	if taught {
		require.Equal(t, meta.OK, s.Learn(t.Context(), peer.Lesson{PID: a.Config.PID, Ballot: 3, Decree: 7}).Err)
	}
	a.Config.Ballot, a.Config.Secondaries = 5, []peer.Addr{self}
	return s, a
}

// The meta may record a learner as a member while the primary dies that asked
// for it: nobody else will ever tell the learner.
func TestLearnerIsAMemberWhenTheMetaSaysSo(t *testing.T) {
	for _, c := range []struct {
		name   string
		taught bool
		synced int32 // what it is after it asked the meta
		led    int32 // what it is after the meta wanted it to lead
	}{
		{"taught", true, Secondary, Primary},
		{"in the middle of copying", false, Potential, Potential},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, a := learner(t, c.taught)
			s.serve(t.Context(), a)
			status, _, _ := s.find(a.Config.PID).view()
			require.Equal(t, c.synced, status)

			s, a = learner(t, c.taught)
			s.obey(t.Context(), peer.Proposal{Table: a.Table, Config: a.Config, Type: peer.UpgradeToPrimary, Node: s.Self})
			status, now, _ := s.find(a.Config.PID).view()
			require.Equal(t, c.led, status)
			require.Equal(t, c.taught, now.Ballot == 6)
		})
	}
}

// A secondary on a busy machine is slow, and stays a member however fast the simulator's clock is; one that is gone
// is found out by that clock.
func TestABusySecondaryIsWaitedFor(t *testing.T) {
	s, _ := learner(t, true)
	busy := answering(t, map[string]peer.Handler{"prepare": peer.Handle(func(context.Context, peer.Prepare) peer.Reply {
		time.Sleep(200 * time.Millisecond)
		return peer.Reply{Err: meta.OK}
	})})
	require.Less(t, s.Config.Scaled(s.Config.PrepareTimeout), 100*time.Millisecond)
	require.True(t, s.prepare(t.Context(), busy, peer.Prepare{}))

	gone, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := gone.Addr().(*net.TCPAddr).AddrPort()
	require.NoError(t, gone.Close())
	began := time.Now()
	require.False(t, s.prepare(t.Context(), addr, peer.Prepare{}))
	require.Less(t, time.Since(began), patience)
}
