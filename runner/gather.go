package runner

import (
	"context"
	"errors"
	"net"
	"sync"

	"github.com/pegbook/pegbook/modules"
)

// gathering is a host that several proposals look at side by side. It waits until each of them has asked
// something or ended, and asks all of it in one request.
type gathering struct {
	host modules.Host

	mu      sync.Mutex // guards the fields below
	busy    int        // proposals that neither wait nor have ended
	waiting []*question
}

type question struct {
	queries  []modules.Query
	files    []modules.File
	err      error
	answered chan struct{}
}

// Bounds of one request: how many paths, how long they are together, and how much content may come back.
const (
	maxGathered        = 4096
	maxGatheredPaths   = 4 << 20
	maxGatheredContent = 256 << 20
)

func (g *gathering) look(ctx context.Context, queries []modules.Query) ([]modules.File, error) {
	q := &question{queries: queries, answered: make(chan struct{})}
	g.mu.Lock()
	g.waiting = append(g.waiting, q)
	due := g.yield()
	g.mu.Unlock()
	g.ask(ctx, due)
	<-q.answered
	return q.files, q.err
}

// leave is when a proposal has ended.
func (g *gathering) leave(ctx context.Context) {
	g.mu.Lock()
	due := g.yield()
	g.mu.Unlock()
	g.ask(ctx, due)
}

// yield notes that a proposal does not go on by itself, and gives what is to be asked now. The lock is held.
func (g *gathering) yield() []*question {
	if g.busy--; g.busy > 0 {
		return nil
	}
	due := g.waiting
	g.waiting, g.busy = nil, len(due)
	return due
}

// ask answers questions with as few requests as the bounds allow.
func (g *gathering) ask(ctx context.Context, due []*question) {
	for len(due) > 0 {
		n := fitting(due)
		g.askTogether(ctx, due[:n])
		due = due[n:]
	}
}

// fitting is how many of the questions go into one request, at least one.
func fitting(due []*question) int {
	var queries, paths int
	var content int64
	for i, q := range due {
		queries += len(q.queries)
		for _, one := range q.queries {
			paths += len(one.Path)
			content += one.Content
		}
		if i > 0 && (queries > maxGathered || paths > maxGatheredPaths || content > maxGatheredContent) {
			return i
		}
	}
	return len(due)
}

func (g *gathering) askTogether(ctx context.Context, due []*question) {
	var all []modules.Query
	for _, q := range due {
		all = append(all, q.queries...)
	}
	files, err := g.host.Look(ctx, all...)
	var gone *modules.UnreachableError
	if err != nil && len(due) > 1 && ctx.Err() == nil && !errors.As(err, &gone) {
		for _, q := range due { // one of them cannot be answered: which one shows when each is asked by itself
			g.askTogether(ctx, []*question{q})
		}
		return
	}
	for _, q := range due {
		if err == nil {
			q.files, files = files[:len(q.queries):len(q.queries)], files[len(q.queries):]
		}
		q.err = err
		close(q.answered)
	}
}

// seat is the host as one of the proposals sees it. It keeps what the proposal rests on.
type seat struct {
	modules.Host
	shared *gathering
	asked  []modules.Query
	found  []modules.FileKind
	// blind: the proposal used the host otherwise than by Look, so nobody knows what it rests on.
	blind bool
}

var _ modules.Host = (*seat)(nil)

// Look reads the state of files, together with what others want to know.
func (s *seat) Look(ctx context.Context, queries ...modules.Query) ([]modules.File, error) {
	files, err := s.shared.look(ctx, queries)
	for i, q := range queries {
		s.asked = append(s.asked, q)
		kind := modules.Other
		if err == nil {
			kind = files[i].Kind
		}
		s.found = append(s.found, kind)
	}
	return files, err
}

// Apply is no proposal's business.
func (s *seat) Apply(ctx context.Context, changes ...modules.Change) error {
	s.blind = true
	return s.Host.Apply(ctx, changes...)
}

// Run runs a command, by itself.
func (s *seat) Run(ctx context.Context, cmd modules.Command) (modules.Output, error) {
	s.blind = true
	return s.Host.Run(ctx, cmd)
}

// Dial connects to an address as seen from the host.
func (s *seat) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	s.blind = true
	return s.Host.Dial(ctx, network, addr)
}

// Predicted answers what check mode predicts.
func (s *seat) Predicted(key string) (string, bool) {
	s.blind = true
	return s.Host.Predicted(key)
}
