package connect

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/connect/helper/wire"
)

// Fence is a lock under which a host is changed. Every request that may change something carries it, and the host
// refuses a Token older than one that it has seen for Key. Holder says who holds the lock.
type Fence struct {
	Key    string
	Token  uint64
	Holder string
}

// Fenced is a host that can be changed under locks.
type Fenced interface {
	modules.Host
	// Under gives the host for requests under these locks.
	Under(fences ...Fence) Fenced
	// Allowed asks the host whether it knows of a newer holder of the locks: *FencedError. It is for those who are
	// about to change something that they reach with Dial.
	Allowed(ctx context.Context) error
}

// FencedError is a host that knows of a newer holder of a lock, and so has refused to be changed.
type FencedError struct {
	Host, Key string
	// Newer is the token of the newer Holder, which the host has seen.
	Newer  uint64
	Holder string
}

// Error says who the newer holder is.
func (e *FencedError) Error() string {
	return fmt.Sprintf("%s refuses changes under the lock %s: it was taken over by %s", e.Host, strings.TrimPrefix(e.Key, "zookeeper:"), e.Holder)
}

var (
	_ error  = (*FencedError)(nil)
	_ Fenced = (*host)(nil)
)

// Under implements Fenced.
func (h *host) Under(fences ...Fence) Fenced {
	in := *h
	in.fences = fences
	return &in
}

// Allowed implements Fenced.
func (h *host) Allowed(ctx context.Context) error {
	if len(h.fences) == 0 {
		return nil
	}
	begin, err := h.begin(ctx, 64)
	if err != nil {
		return err
	}
	_, err = h.folder(ctx, h.mux, wire.AppendFence(begin))
	return err
}

func (h *host) folder(ctx context.Context, m *mux, request []byte) (*wire.Folder, error) {
	answer, err := m.call(ctx, request, nil, room)
	if err != nil {
		return nil, h.broken(err)
	}
	f, err := wire.ParseFolder(answer)
	return f, h.refused(err)
}

// begin makes room for a request that may change something, with what locks it is made under before it.
func (h *host) begin(ctx context.Context, size int) ([]byte, error) {
	if len(h.fences) == 0 {
		return wire.Begin(size), nil
	}
	f := &wire.Fencing{Fences: h.wireFences(), Base: h.base}
	if h.login != nil {
		folder, err := h.login.know(ctx, h)
		if err != nil {
			return nil, err
		}
		f.Authority, f.UID = folder.Path, folder.UID
	}
	return wire.AppendFenced(wire.Begin(size+256*len(h.fences)), f), nil
}

func (h *host) wireFences() []wire.Fence {
	list := make([]wire.Fence, len(h.fences))
	for i, f := range h.fences {
		list[i] = wire.Fence{Key: f.Key, Token: f.Token, Holder: f.Holder}
	}
	return list
}

// login is the user who logs in to a host, for the helpers of those whom it becomes. What it has seen of locks counts
// for them as well: so whoever holds a lock is known to all users of a host as soon as one of them has been used.
type login struct {
	open func(ctx context.Context) (*mux, error)

	mu     sync.Mutex // guards the rest, while the host is being asked as well
	folder *wire.Folder
	told   map[string]uint64 // the tokens that it has seen from us
}

// know lets the user who logs in see the locks that h is under.
func (l *login) know(ctx context.Context, h *host) (*wire.Folder, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var news []wire.Fence
	for _, f := range h.wireFences() {
		if l.told[f.Key] != f.Token {
			news = append(news, f)
		}
	}
	if len(news) == 0 && l.folder != nil {
		return l.folder, nil
	}
	m, err := l.open(ctx)
	if err != nil {
		return nil, err
	}
	folder, err := h.folder(ctx, m, wire.AppendFence(wire.AppendFenced(wire.Begin(256), &wire.Fencing{Fences: news, Base: h.base})))
	if err != nil {
		return nil, err
	}
	l.folder = folder
	if l.told == nil {
		l.told = map[string]uint64{}
	}
	for _, f := range news {
		l.told[f.Key] = f.Token
	}
	return folder, nil
}

// stale reads the refusal of a host that knows of a newer holder.
func (h *host) stale(refusal *wire.Error) error {
	number, holder, _ := strings.Cut(refusal.Text, " ")
	newer, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return &modules.UnreachableError{Host: h.name, Err: wire.ErrMessage}
	}
	return &FencedError{Host: h.name, Key: refusal.Path, Newer: newer, Holder: holder}
}

// Keeper is a host that holds a lock on one of its files for as long as the connection to it lives.
type Keeper interface {
	// Hold takes the lock, or says in the state who has it. note is who takes it: one line.
	Hold(ctx context.Context, path, note string) (HoldState, error)
	// Holds says whether the lock is still ours.
	Holds(ctx context.Context, path string) (bool, error)
	// HeldBy says who has the lock.
	HeldBy(ctx context.Context, path string) (HoldState, error)
	// LetGo gives the lock back.
	LetGo(ctx context.Context, path string) error
}

// HoldState is how a lock on a host's file stands: Ours with its Token, or Busy with what its holder says.
type HoldState struct {
	Ours, Busy bool
	Token      uint64
	Note       string
}

var _ Keeper = (*host)(nil)

// errNoLock is an answer that makes no sense.
var errNoLock = errors.New("the host gave no lock")

// Hold implements Keeper.
func (h *host) Hold(ctx context.Context, path, note string) (HoldState, error) {
	s, err := h.hold(ctx, &wire.HoldRequest{Act: wire.TakeHold, Path: path, Note: note})
	if err == nil && !s.Ours && !s.Busy {
		err = h.refused(errNoLock)
	}
	return s, err
}

// Holds implements Keeper.
func (h *host) Holds(ctx context.Context, path string) (bool, error) {
	s, err := h.hold(ctx, &wire.HoldRequest{Act: wire.CheckHold, Path: path})
	return s.Ours, err
}

// HeldBy implements Keeper.
func (h *host) HeldBy(ctx context.Context, path string) (HoldState, error) {
	return h.hold(ctx, &wire.HoldRequest{Act: wire.AskHold, Path: path})
}

// LetGo implements Keeper.
func (h *host) LetGo(ctx context.Context, path string) error {
	_, err := h.hold(ctx, &wire.HoldRequest{Act: wire.ReleaseHold, Path: path})
	return err
}

func (h *host) hold(ctx context.Context, request *wire.HoldRequest) (HoldState, error) {
	answer, err := h.mux.call(ctx, wire.AppendHold(wire.Begin(64+len(request.Path)+len(request.Note)), request), nil, room)
	if err != nil {
		return HoldState{}, h.broken(err)
	}
	s, err := wire.ParseHoldState(answer)
	if err != nil {
		return HoldState{}, h.refused(err)
	}
	return HoldState{Ours: s.Ours, Busy: s.Held, Token: s.Token, Note: s.Note}, nil
}
