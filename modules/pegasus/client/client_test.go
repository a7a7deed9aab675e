package client

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/modules/pegasus/internal/fake"
	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

func open(t *testing.T, c *fake.Cluster, opt Options) *Client {
	t.Helper()
	if opt.AnswerTimeout == 0 {
		opt.AnswerTimeout = 300 * time.Millisecond
	}
	if opt.LeaderTimeout == 0 {
		opt.LeaderTimeout = 3 * time.Second
	}
	cl, err := New(c.Dial, c.Metas, opt)
	require.NoError(t, err)
	t.Cleanup(cl.Close)
	return cl
}

func TestFindsAndFollowsTheLeader(t *testing.T) {
	c := fake.New(t, 3, 3, 50*time.Millisecond)
	c.AddTable("temp", 4, 3)
	c.Failover(fake.Meta(3))
	c.Dead[fake.Meta(1)] = true
	cl := open(t, c, Options{})
	leader, err := cl.Leader(t.Context())
	require.NoError(t, err)
	assert.Equal(t, fake.Meta(3), leader)
	v, err := cl.View(t.Context())
	require.NoError(t, err)
	assert.Empty(t, v.Missing(nil, false))

	c.Failover(fake.Meta(2))
	_, err = cl.View(t.Context())
	require.NoError(t, err)
	leader, err = cl.Leader(t.Context())
	require.NoError(t, err)
	assert.Equal(t, fake.Meta(2), leader)

	// A standby refuses these instead of forwarding; that must not be taken for a refusal.
	node, err := v.Actor(v.Nodes[0].Node.Address)
	require.NoError(t, err)
	c.Failover(fake.Meta(3))
	err = cl.Propose(t.Context(), wire.GPID{App: 1}, wire.ProposalAction{Target: node, Node: node, Type: wire.DowngradeToSecondary})
	assert.NoError(t, err)
}

// TestAProcessThatStoodStillLooksForTheLeaderOnceMore keeps the first requests for longer than a leader is looked for.
func TestAProcessThatStoodStillLooksForTheLeaderOnceMore(t *testing.T) {
	c := fake.New(t, 3, 3, time.Second)
	var dials atomic.Int64
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		if dials.Add(1) <= 3 {
			time.Sleep(900 * time.Millisecond)
			return nil, context.DeadlineExceeded
		}
		return c.Dial(ctx, network, addr)
	}
	cl, err := New(dial, c.Metas, Options{AnswerTimeout: 100 * time.Millisecond, LeaderTimeout: 700 * time.Millisecond})
	require.NoError(t, err)
	t.Cleanup(cl.Close)
	leader, err := cl.Leader(t.Context())
	require.NoError(t, err)
	assert.Equal(t, fake.Meta(1), leader)
}

func TestLeaderOutsideTheList(t *testing.T) {
	c := fake.New(t, 2, 3, time.Second)
	c.Failover(fake.Meta(2))
	cl, err := New(c.Dial, c.Metas[:1], Options{LeaderTimeout: time.Second})
	require.NoError(t, err)
	defer cl.Close()
	leader, err := cl.Leader(t.Context())
	require.NoError(t, err)
	assert.Equal(t, fake.Meta(2), leader)
}

func TestNoLeader(t *testing.T) {
	c := fake.New(t, 3, 3, time.Second)
	c.Mu.Lock()
	c.Leader = ""
	c.Dead[fake.Meta(1)] = true
	c.Mute[fake.Meta(2)] = true
	c.Mu.Unlock()
	var notes strings.Builder
	cl := open(t, c, Options{LeaderTimeout: 2 * time.Second, Note: func(f string, a ...any) { fmt.Fprintf(&notes, f+"\n", a...) }})
	_, err := cl.Leader(t.Context())
	var none *NoLeaderError
	require.ErrorAs(t, err, &none)
	assert.Contains(t, err.Error(), fake.Meta(1)+" cannot be reached (connection refused)")
	assert.Contains(t, err.Error(), fake.Meta(2)+" did not answer")
	assert.Contains(t, err.Error(), fake.Meta(3)+" is a standby")
	assert.Contains(t, notes.String(), "waiting for a leading meta server")
}

// TestLostRequests: a reading is sent again, an order is not.
func TestLostRequests(t *testing.T) {
	c := fake.New(t, 1, 3, time.Second)
	cl := open(t, c, Options{})
	_, err := cl.Leader(t.Context())
	require.NoError(t, err)
	mute := func(is bool) {
		c.Mu.Lock()
		defer c.Mu.Unlock()
		c.Mute[fake.Meta(1)] = is
	}
	mute(true)
	time.AfterFunc(500*time.Millisecond, func() { mute(false) })
	_, err = cl.Nodes(t.Context())
	assert.NoError(t, err, "a reading gets through in the end")

	mute(true)
	_, err = Order(t.Context(), cl, &wire.DropAppRequest{AppName: "temp"})
	var silent *NoAnswerError
	require.ErrorAs(t, err, &silent)
	assert.True(t, silent.Sent)
}

func TestSettings(t *testing.T) {
	for _, named := range []bool{false, true} {
		c := fake.New(t, 3, 3, time.Second)
		c.Named = named
		cl := open(t, c, Options{})
		const delay = "meta.lb.assign_delay_ms"
		require.NoError(t, cl.SetSetting(t.Context(), delay, "5"))
		value, err := cl.Setting(t.Context(), delay)
		require.NoError(t, err)
		assert.Equal(t, "5", value)
		var refused *CommandError
		assert.ErrorAs(t, cl.SetSetting(t.Context(), delay, "abc"), &refused)
		_, err = cl.Setting(t.Context(), "meta.lb.nosuch")
		assert.ErrorAs(t, err, &refused)
	}
}

func TestCommandAnswers(t *testing.T) {
	for text, want := range map[string]struct {
		accepted, refused bool
		value             string
	}{
		"OK":                        {true, false, "OK"},
		"OK, release_bytes=7":       {true, false, "7"},
		"600000":                    {false, false, "600000"},
		"true":                      {false, false, "true"},
		"get ok: a:1,b:2":           {true, false, "a:1,b:2"},
		"set ok":                    {true, false, "set ok"},
		"mem-release = 10":          {false, false, "10"},
		"ERR: invalid arguments":    {false, true, ""},
		"unknown command 'x'":       {false, true, ""},
		"invalid arguments":         {false, true, ""},
		"":                          {false, true, ""},
		"ERR_OBJECT_NOT_FOUND":      {false, true, ""},
		"{\n  \"error\": \"ok\"\n}": {true, false, ""},
		`{"error":"OK","meta.lb.assign_delay_ms":"7"}`:             {true, false, "7"},
		`{"error":"ok","meta.lb.assign_delay_ms":7}`:               {true, false, "7"},
		`{"assign_delay_ms":"h1:1","error":"ok"}`:                  {true, false, "h1:1"},
		`{"error":"ERR: invalid argument 'x', is not acceptable"}`: {false, true, ""},
	} {
		a := CommandAnswer{Text: text}
		assert.Equal(t, want.accepted, a.Accepted(), text)
		assert.Equal(t, want.refused, a.Refused(), text)
		value, _ := a.Value("meta.lb.assign_delay_ms")
		assert.Equal(t, want.value, value, text)
	}
}

func TestHealth(t *testing.T) {
	a := func(n int) wire.Address {
		addr, err := wire.ParseAddress(fake.Replica(n))
		require.NoError(t, err)
		return addr
	}
	table := TableView{AppInfo: wire.AppInfo{Name: "temp", ID: 1, PartitionCount: 4, Status: wire.AppAvailable}, Partitions: []wire.PartitionConfig{
		{MaxReplicaCount: 3, Primary: a(1), Secondaries: []wire.Address{a(2), a(3)}},
		{MaxReplicaCount: 3, Primary: a(1), Secondaries: []wire.Address{a(2)}},
		{MaxReplicaCount: 3, Primary: a(1)},
		{MaxReplicaCount: 3, Secondaries: []wire.Address{a(2), a(3), a(1)}},
	}}
	h := table.Health()
	h.unhealthyDetail = nil
	assert.Equal(t, Health{Partitions: 4, FullyHealthy: 1, Unhealthy: 3, WriteUnhealthy: 2, ReadUnhealthy: 1}, h)

	v := &View{Tables: []TableView{table}, Nodes: []wire.NodeInfo{{Status: wire.NodeUnalive, Node: wire.Node{Address: a(1)}}}}
	missing := strings.Join(v.Missing([]wire.Address{a(1), a(2)}, false), "\n")
	for _, want := range []string{a(1).String() + " is UNALIVE", a(2).String() + " is not known", "has 2 of 3 replicas", "has 3 of 3 replicas and no primary"} {
		assert.Contains(t, missing, want)
	}
	assert.NotEmpty(t, (&View{}).Missing(nil, false), "nothing at all is not healthy")
	short := table
	short.Partitions = short.Partitions[:1]
	assert.NotEmpty(t, (&View{Nodes: v.Nodes, Tables: []TableView{short}}).Missing(nil, false), "partitions that are not shown are not healthy")
}

func TestActorNeedsItsName(t *testing.T) {
	c := fake.New(t, 1, 2, time.Second)
	c.Named = true
	v, err := open(t, c, Options{}).View(t.Context())
	require.NoError(t, err)
	n, err := v.Actor(v.Nodes[0].Node.Address)
	require.NoError(t, err)
	assert.Equal(t, "r1.example:34801", n.String())
	v.Nodes[1].Node.HostPort = nil
	_, err = v.Actor(v.Nodes[1].Node.Address)
	assert.ErrorContains(t, err, "abort")
}

func TestCounts(t *testing.T) {
	for _, noHTTP := range []bool{false, true} {
		c := fake.New(t, 1, 3, time.Second)
		c.AddTable("temp", 6, 3)
		c.NoHTTP = noHTTP
		held, err := open(t, c, Options{}).Counts(t.Context(), fake.Replica(1))
		require.NoError(t, err)
		assert.Equal(t, 6, held.Serving)
		assert.Equal(t, noHTTP, !held.At.IsZero())
	}
}

func TestServerInfo(t *testing.T) {
	c := fake.New(t, 1, 1, time.Second)
	cl := open(t, c, Options{})
	info, err := cl.ServerInfo(t.Context(), fake.Meta(1))
	require.NoError(t, err)
	assert.Equal(t, ServerInfo{"2.5.0", "abc", "Release", "2026-01-01 09:00:00"}, info)
	started, err := cl.StartTime(t.Context(), fake.Replica(1))
	require.NoError(t, err)
	assert.Equal(t, "2026-01-01 10:00:00", started)
}

func TestData(t *testing.T) {
	c := fake.New(t, 1, 3, 20*time.Millisecond)
	c.AddTable("temp", 4, 3)
	cl := open(t, c, Options{})
	d := cl.Data("temp")
	for i := range 20 {
		key, err := wire.NewKey(fmt.Appendf(nil, "key-%d", i), []byte("s"))
		require.NoError(t, err)
		require.NoError(t, d.Put(t.Context(), key, []byte{byte(i)}))
		value, err := d.Get(t.Context(), key)
		require.NoError(t, err)
		assert.Equal(t, []byte{byte(i)}, value)
		if i == 10 {
			movePrimaries(t, c, cl)
		}
		require.NoError(t, d.Remove(t.Context(), key))
		_, err = d.Get(t.Context(), key)
		assert.ErrorIs(t, err, ErrNotFound)
	}
}

// movePrimaries gives every partition another primary, behind the back of whoever remembers them.
func movePrimaries(t *testing.T, c *fake.Cluster, cl *Client) {
	v, err := cl.View(t.Context())
	require.NoError(t, err)
	for _, p := range v.Tables[0].Partitions {
		from, err := v.Actor(p.Primary)
		require.NoError(t, err)
		to, err := v.Actor(p.Secondaries[0])
		require.NoError(t, err)
		require.NoError(t, cl.Propose(t.Context(), p.PID, wire.ProposalAction{Target: from, Node: from, Type: wire.DowngradeToSecondary},
			wire.ProposalAction{Target: to, Node: to, Type: wire.UpgradeToPrimary}))
	}
	require.Eventually(t, func() bool {
		now, err := cl.View(t.Context())
		return err == nil && now.Tables[0].Partitions[0].Primary != v.Tables[0].Partitions[0].Primary
	}, 2*time.Second, 10*time.Millisecond)
}

func TestMetaListIsChecked(t *testing.T) {
	for _, metas := range [][]string{nil, {"localhost"}, {"meta1:34601"}, {"10.0.0.1"}} {
		_, err := New(nil, metas, Options{})
		assert.Error(t, err, metas)
	}
}
