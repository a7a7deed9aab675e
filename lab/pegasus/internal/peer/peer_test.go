package peer

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func echo() map[string]Handler {
	return map[string]Handler{"group_check": Handle(func(_ context.Context, g GroupCheck) Reply { return Reply{Err: g.Table.Name} })}
}

func listen(t *testing.T, addr string) Addr {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				r := bufio.NewReader(c)
				if _, err := io.ReadFull(r, make([]byte, len(Magic))); err == nil {
					_ = Serve(t.Context(), r, c, echo())
				}
			}()
		}
	}()
	return netip.MustParseAddrPort(l.Addr().String())
}

func TestCallsShareAConnectionAndSurviveItsLoss(t *testing.T) {
	to := listen(t, "127.0.40.5:0")
	c := NewClient(netip.MustParseAddrPort("127.0.40.6:1"))
	defer c.Close()
	for _, name := range []string{"a", "b"} {
		r, err := Call[GroupCheck, Reply](t.Context(), c, to, "group_check", GroupCheck{Table: Table{Name: name}})
		require.NoError(t, err)
		require.Equal(t, name, r.Err)
	}
	require.Len(t, c.conns, 1)
	c.conns[to].fail()
	r, err := Call[GroupCheck, Reply](t.Context(), c, to, "group_check", GroupCheck{Table: Table{Name: "c"}})
	require.NoError(t, err)
	require.Equal(t, "c", r.Err)
}

func TestCallEndsWithItsContext(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.40.5:0") // accepts and says nothing
	require.NoError(t, err)
	defer l.Close()
	c := NewClient(netip.MustParseAddrPort("127.0.40.6:1"))
	defer c.Close()
	ctx, stop := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, errors.New("too long"))
	defer stop()
	_, err = Call[GroupCheck, Reply](ctx, c, netip.MustParseAddrPort(l.Addr().String()), "group_check", GroupCheck{})
	require.EqualError(t, err, "too long")
}

func FuzzServe(f *testing.F) {
	var b bytes.Buffer
	require.NoError(f, writeFrame(&b, envelope{ID: 1, Kind: "group_check", Body: []byte(`{}`)}))
	f.Add(b.Bytes())
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, raw []byte) {
		err := Serve(t.Context(), bufio.NewReader(bytes.NewReader(raw)), io.Discard, echo())
		require.Error(t, err, "the end of input at the latest")
	})
}
