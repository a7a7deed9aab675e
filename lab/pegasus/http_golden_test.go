package pegasus

import (
	"bufio"
	"encoding/json"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/lab/pegasus/internal/config"
	"github.com/pegbook/pegbook/lab/pegasus/internal/meta"
	"github.com/pegbook/pegbook/lab/pegasus/internal/peer"
	"github.com/pegbook/pegbook/lab/pegasus/internal/replica"
)

// TestRecordedHTTPAnswers compares whole answers, headers included, with those
// of a real 2.5.0 cluster (facts/pegasus-captures).
func TestRecordedHTTPAnswers(t *testing.T) {
	f, err := os.Open("testdata/http.jsonl")
	require.NoError(t, err)
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var c struct{ Role, Path, Answer string }
		require.NoError(t, json.Unmarshal(lines.Bytes(), &c))
		t.Run(c.Role+c.Path, func(t *testing.T) {
			p := recordedServer(t, c.Role)
			if _, text, ok := strings.Cut(c.Answer, `"RecentStartTime":"`); ok {
				p.start, err = time.ParseInLocation("2006-01-02 15:04:05", text[:19], time.Local)
				require.NoError(t, err)
			}
			client, server := net.Pipe()
			go func() {
				defer server.Close()
				p.serveHTTP(server, bufio.NewReader(server))
			}()
			_, err := client.Write([]byte("GET " + c.Path + " HTTP/1.1\r\nHost: x\r\n\r\n"))
			require.NoError(t, err)
			got := make([]byte, 4096)
			n, err := client.Read(got)
			require.NoError(t, err)
			require.Equal(t, c.Answer, string(got[:n]))
			client.Close()
		})
	}
	require.NoError(t, lines.Err())
}

func recordedServer(t *testing.T, role string) *process {
	x := &exchange{t: t, Name: "http", Role: "collector", Address: "127.0.0.1:34101"}
	p := x.server()
	switch role {
	case "meta":
		p.role = "meta"
		require.NoError(t, p.self.UnmarshalText([]byte("127.0.0.1:34601")))
		p.actor = &metaRole{p: p, state: recordedState(t, p.config, p.self)}
	case "standby":
		p.role = "meta"
		p.actor = &metaRole{p: p}
	case "replica":
		p.role = "replica"
		x.Role, x.Request = "replica (just started)", ""
		p.actor = recordedReplica(x, p)
	}
	return p
}

func recordedReplica(x *exchange, p *process) *replicaRole {
	require.NoError(x.t, p.self.UnmarshalText([]byte("127.0.0.1:34803")))
	r := newReplica(p)
	require.NoError(x.t, r.stub.Load(x.t.Context()))
	r.stub.Acked(peer.BeaconAck{From: p.config.Metas[0], Sent: time.Now().UnixNano(), Master: true, Allowed: true})
	for _, pid := range []peer.GPID{{App: 2, Pidx: 0}, {App: 2, Pidx: 1}, {App: 2, Pidx: 4}, {App: 2, Pidx: 5}, {App: 2, Pidx: 6},
		{App: 1, Pidx: 1}, {App: 1, Pidx: 2}, {App: 1, Pidx: 3}} {
		x.hold(r, pid, replica.Secondary, nil)
	}
	return r
}

// recordedState is the recorded cluster: temp as its answers show it, stat such
// that the counts of nodes come out.
func recordedState(t *testing.T, c *config.Config, self peer.Addr) *meta.State {
	store := &memStore{parts: map[int32][]peer.Config{}}
	created := time.Date(2026, 11, 21, 21, 2, 8, 0, time.Local).Unix()
	for _, tb := range []struct {
		id    int32
		name  string
		parts [][3]int // primary, secondaries
	}{
		{1, "stat", [][3]int{{1, 2, 5}, {2, 3, 1}, {4, 3, 2}, {5, 4, 3}}},
		{2, "temp", [][3]int{{3, 5, 1}, {2, 4, 3}, {1, 4, 5}, {4, 5, 2}, {5, 2, 3}, {3, 1, 2}, {2, 3, 1}, {1, 4, 5}}},
	} {
		row := table(tb.id, tb.name, int32(len(tb.parts)))
		row.Created = created
		var parts []peer.Config
		for i, m := range tb.parts {
			parts = append(parts, peer.Config{PID: peer.GPID{App: tb.id, Pidx: int32(i)}, Ballot: 3, MaxReplicas: 3,
				Primary: nodeAddr(m[0]), Secondaries: []peer.Addr{nodeAddr(m[1]), nodeAddr(m[2])}})
		}
		store.add(row, parts...)
	}
	s, err := meta.Open(t.Context(), meta.Options{Config: c, Self: self, Store: store, Now: time.Now,
		Log: func(byte, string, string, ...any) {}, Send: func(peer.Addr, peer.Proposal) {}})
	require.NoError(t, err)
	for i := 1; i <= 5; i++ {
		require.True(t, s.Beacon(peer.Beacon{From: nodeAddr(i), Start: 1}))
	}
	return s
}
