package runner

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/modtest"
)

// slowToOpen is a host that takes its time to be opened.
func slowToOpen(takes time.Duration) *lazyHost {
	m := modtest.NewMachine("slow")
	m.OnDial = func(ctx context.Context, _, _ string) (net.Conn, error) {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		c, _ := net.Pipe()
		return c, nil
	}
	return &lazyHost{name: "slow", open: func(ctx context.Context) (modules.Host, error) {
		select {
		case <-ctx.Done():
			return nil, &modules.UnreachableError{Host: "slow", Err: context.Cause(ctx)}
		case <-time.After(takes):
			return m, nil
		}
	}}
}

func TestTheTimeOfADialIsNotThatOfOpeningTheHost(t *testing.T) {
	l := slowToOpen(100 * time.Millisecond)
	short, stop := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer stop()
	_, err := l.Dial(short, "tcp", "10.0.0.1:1")
	var unreachable *modules.UnreachableError
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.False(t, errors.As(err, &unreachable), "a host that is slow is not one that cannot be reached")
	conn, err := l.Dial(t.Context(), "tcp", "10.0.0.1:1")
	require.NoError(t, err, "it has been opened meanwhile")
	require.NoError(t, conn.Close())
}

func TestADialThatIsCancelledOpensNothing(t *testing.T) {
	l := slowToOpen(time.Minute)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	_, err := l.Dial(ctx, "tcp", "10.0.0.1:1")
	require.ErrorIs(t, err, context.Canceled)
	require.False(t, l.opened())
}
