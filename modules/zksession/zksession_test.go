package zksession

import (
	"context"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A list of servers that all turn the connection down is given up early; one that does not answer may be about to.
func TestConnectGivesUpOnAListThatCannotBeRight(t *testing.T) {
	refuses := &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	unknown := &net.DNSError{Err: "no such host", Name: "zk2", IsNotFound: true}
	tests := []struct {
		name   string
		second func(ctx context.Context) error
		rounds int
		quick  bool
		want   string
	}{
		{"all refuse", func(context.Context) error { return refuses }, 2, true, "no ZooKeeper server takes a connection: zk1:1: connection refused; zk2:1: connection refused"},
		{"no such host", func(context.Context) error { return unknown }, 2, true, "zk2:1: lookup zk2: no such host"},
		{"one is silent", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, 1, false, "no ZooKeeper server gave a session within 3s"},
		{"any number of rounds", func(context.Context) error { return refuses }, 0, false, "within 3s: zk1:1: connection refused; zk2:1: connection refused"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			_, _, err := Connect(t.Context(), Options{Servers: []string{"zk1:1", "zk2:1"}, Wait: 3 * time.Second, Rounds: tt.rounds,
				Dial: func(ctx context.Context, _, addr string) (net.Conn, error) {
					if addr == "zk1:1" {
						return nil, refuses
					}
					return nil, tt.second(ctx)
				}})
			require.ErrorContains(t, err, tt.want)
			assert.Equal(t, tt.quick, time.Since(began) < 2500*time.Millisecond, time.Since(began))
		})
	}
}

// A server that takes connections and says nothing is let go of as soon as nobody waits for it any more.
func TestAServerThatSaysNothingIsLetGoOf(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			cancel()
			_, err = io.Copy(io.Discard, c)
		}
		ended <- err
	}()
	_, _, err = Connect(ctx, Options{Dial: new(net.Dialer).DialContext, Servers: []string{l.Addr().String()}, Wait: time.Minute})
	require.ErrorIs(t, err, context.Canceled)
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("the connection is still held")
	}
}
