package helper

import (
	"errors"
	"os"
	"path/filepath"
	"sync"

	"github.com/pegbook/pegbook/runner/connect/helper/hold"
	"github.com/pegbook/pegbook/runner/connect/helper/wire"
)

// holds are the locks that this helper holds. They end with it, and so with the connection.
type holds struct {
	mu  sync.Mutex // guards all
	all map[string]*hold.Hold
}

// hold does what a request wants of a lock.
func (s *server) hold(h *wire.HoldRequest) (*wire.HoldState, *wire.Error) {
	if !filepath.IsAbs(h.Path) {
		return nil, protocol("the path of a lock is not absolute")
	}
	state, err := s.holds.do(h)
	if err != nil {
		return nil, refuse("lock", h.Path, err)
	}
	return state, nil
}

func (hs *holds) do(h *wire.HoldRequest) (*wire.HoldState, error) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	ours := hs.all[h.Path]
	switch h.Act {
	case wire.TakeHold:
		if ours != nil {
			return nil, errors.New("this run holds it already")
		}
		return hs.take(h)
	case wire.CheckHold:
		if ours == nil || ours.Check() != nil {
			return &wire.HoldState{}, nil
		}
		return &wire.HoldState{Ours: true, Token: ours.Token}, nil
	case wire.ReleaseHold:
		if ours == nil {
			return &wire.HoldState{}, nil
		}
		delete(hs.all, h.Path)
		return &wire.HoldState{}, ours.Release()
	case wire.AskHold:
		note, held, err := hold.Ask(h.Path)
		return &wire.HoldState{Held: held, Note: note}, err
	}
	return nil, errors.New("unknown act")
}

func (hs *holds) take(h *wire.HoldRequest) (*wire.HoldState, error) {
	if err := os.MkdirAll(filepath.Dir(h.Path), 0o755); err != nil {
		return nil, err
	}
	got, err := hold.Try(h.Path, h.Note)
	var busy *hold.BusyError
	if errors.As(err, &busy) {
		return &wire.HoldState{Held: true, Note: busy.Note}, nil
	}
	if err != nil {
		return nil, err
	}
	if hs.all == nil {
		hs.all = map[string]*hold.Hold{}
	}
	hs.all[h.Path] = got
	return &wire.HoldState{Ours: true, Token: got.Token}, nil
}

// end gives everything back.
func (hs *holds) end() {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	for _, h := range hs.all {
		_ = h.Release() // the kernel does it, too, when the process ends
	}
	hs.all = nil
}
