package lock

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/connect"
)

// OnHost is a lock on a file of a managed host. It ends with the connection to the host.
type OnHost struct {
	// Host is the host's name, Path the file there.
	Host, Path string
	Open       func(ctx context.Context) (connect.Keeper, error)
}

var _ Lock = (*OnHost)(nil)

const (
	// hostEvery is how often a host is asked whether it still holds the lock, hostRetry how often one that is
	// waited for is tried, hostTime how long an answer may take.
	hostEvery = 5 * time.Second
	hostRetry = time.Second
	hostTime  = 20 * time.Second
)

// Name implements Lock.
func (o *OnHost) Name() string { return fmt.Sprintf("the lock on file %s of %s", o.Path, o.Host) }

// Key implements Lock.
func (o *OnHost) Key() string { return "host:" + o.Host + ":" + o.Path }

// Take implements Lock.
func (o *OnHost) Take(ctx context.Context, who Holder, w Wait) (Held, error) {
	host, err := o.Open(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.Name(), err)
	}
	return poll(ctx, o.Name(), w, hostRetry, func() (Held, State, error) {
		s, err := host.Hold(ctx, o.Path, who.Note())
		if err != nil {
			return nil, State{}, fmt.Errorf("%s: %w", o.Name(), err)
		}
		if !s.Ours {
			return nil, State{Held: true, Holder: ParseHolder(s.Note)}, nil
		}
		k := &kept{name: o.Name(), token: s.Token, every: hostEvery, patience: 2 * hostTime,
			check:   func(ctx context.Context) error { return o.check(ctx, host) },
			release: func() error { return o.letGo(context.WithoutCancel(ctx), host) }}
		return k.keep(ctx), State{}, nil
	})
}

// check asks the helper that took the lock. Another one, of a new connection, would not have it.
func (o *OnHost) check(ctx context.Context, host connect.Keeper) error {
	ctx, cancel := context.WithTimeout(ctx, hostTime)
	defer cancel()
	ours, err := host.Holds(ctx, o.Path)
	var broken *modules.UnreachableError
	switch {
	case errors.As(err, &broken):
		return gone("the connection that held it broke: %w", err)
	case err != nil:
		return err
	case !ours:
		return gone("the file was removed or replaced")
	}
	return nil
}

func (o *OnHost) letGo(ctx context.Context, host connect.Keeper) error {
	ctx, cancel := context.WithTimeout(ctx, hostTime)
	defer cancel()
	err := host.LetGo(ctx, o.Path)
	var broken *modules.UnreachableError
	if errors.As(err, &broken) {
		return nil // it ended with the connection
	}
	return err
}

// Ask implements Lock.
func (o *OnHost) Ask(ctx context.Context) (State, error) {
	host, err := o.Open(ctx)
	if err != nil {
		return State{}, fmt.Errorf("%s: %w", o.Name(), err)
	}
	s, err := host.HeldBy(ctx, o.Path)
	if err != nil {
		return State{}, fmt.Errorf("%s: %w", o.Name(), err)
	}
	return State{Held: s.Busy, Holder: ParseHolder(s.Note)}, nil
}
