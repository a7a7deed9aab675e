package runner

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/connect"
	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/event"
	"github.com/pegbook/pegbook/runner/internal/graph"
	"github.com/pegbook/pegbook/runner/lock"
)

// runLock is a lock of a run: plays that have the same one share it, and it is held from the first of them to
// the last without a gap.
type runLock struct {
	lock.Lock
	spec *lockSpec
	left int // plays that have it and are not over; of the walking goroutine

	looked atomic.Bool // in check mode, which says it once

	taking sync.Mutex // held while the lock is being taken, which may be long: the walk must not wait for it
	mu     sync.Mutex // guards the rest
	held   lock.Held
	fences []connect.Fence // that changes are made under while it is held
}

// now is the lock as it is held; nil when it is not.
func (l *runLock) now() lock.Held {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held
}

// prepareLocks counts the plays that have each lock.
func (r *run) prepareLocks() {
	for _, b := range r.plan.playbooks {
		for _, pl := range b.plays {
			if pl.lock != nil {
				r.lockFrom(pl.lock).left++
			}
		}
	}
}

// lockFrom gives the run's lock of a kind and place.
func (r *run) lockFrom(spec *lockSpec) *runLock {
	key := spec.String()
	if r.locks[key] == nil {
		r.locks[key] = &runLock{spec: spec, Lock: r.makeLock(spec)}
	}
	return r.locks[key]
}

func (r *run) makeLock(spec *lockSpec) lock.Lock {
	if spec.file != "" {
		return &lock.File{Path: spec.file}
	}
	r.secrets.Add(spec.auth)
	if spec.onHost != "" {
		return &lock.OnHost{Host: spec.host, Path: spec.onHost, Open: func(ctx context.Context) (connect.Keeper, error) {
			h, err := r.openAsUser(ctx, spec.host)
			if err != nil {
				return nil, err
			}
			k, ok := h.(connect.Keeper)
			if !ok {
				return nil, fmt.Errorf("%s keeps no locks", spec.host)
			}
			return k, nil
		}}
	}
	z := &lock.ZooKeeper{Servers: spec.servers, Path: spec.node, Timeout: spec.timeout, Auth: spec.auth, Dial: (&net.Dialer{}).DialContext}
	if spec.via != "" {
		z.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			h, err := r.openAsUser(ctx, spec.via)
			if err != nil {
				return nil, err
			}
			return h.Dial(ctx, network, addr)
		}
	}
	return z
}

// openAsUser opens a host as the user that its variables say, becoming nobody else.
func (r *run) openAsUser(ctx context.Context, name string) (modules.Host, error) {
	w := &world{r: r}
	s, ok := w.HostScope(name)
	if !ok {
		return nil, fmt.Errorf("the inventory has no host %s any more", name)
	}
	a, _, err := r.plan.in.Defaults.address(r.hostOrAddress(name), s, &keys{})
	if err != nil {
		return nil, err
	}
	r.secrets.Add(a.Password)
	return r.opts.Connect.Open(ctx, a, connect.Become{})
}

// lockFor is the lock that a play is to hold; nil for none.
func (r *run) lockFor(pr *playRun) (*runLock, error) {
	if pr.Lock == nil || len(pr.all) == 0 {
		return nil, nil
	}
	spec := pr.play.lock
	if spec != nil {
		return r.lockFrom(spec), nil
	}
	spec, err := r.lockOf(pr.play, pr.all)
	if spec == nil || err != nil {
		return nil, err
	}
	l := r.lockFrom(spec) // its hosts, or its name, came to be known in the run
	l.left++
	return l, nil
}

// locked puts a play, whose last nodes are given, behind the taking of its lock.
func (r *run) locked(pr *playRun, g *graph.Graph[node], last []graph.ID) *graph.Graph[node] {
	l, err := r.lockFor(pr)
	if err != nil {
		r.failPlay(err)
		return nil
	}
	if l == nil {
		return g
	}
	pr.lock = l
	g.Add(&unlocking{pr: pr, l: l}, last...)
	outer := &graph.Graph[node]{}
	outer.AddWaiting(&locking{pr: pr, r: r, l: l, play: g})
	return outer
}

// locking takes a play's lock, and then goes through the play.
type locking struct {
	pr   *playRun
	r    *run
	l    *runLock
	play *graph.Graph[node]
	err  error
}

func (n *locking) work(ctx context.Context) {
	if n.r.opts.Check {
		n.look(ctx)
		return
	}
	n.l.taking.Lock()
	defer n.l.taking.Unlock()
	if n.l.now() != nil {
		return // by another play of the run
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-n.r.opts.Drain:
			cancel(graph.ErrDrained)
		case <-n.r.halting:
			cancel(graph.ErrDrained)
		case <-ctx.Done():
		}
	}()
	who := n.r.holder()
	held, err := n.l.Take(ctx, who, lock.Wait{Limit: n.r.opts.LockWait, Told: func(s lock.State) {
		n.tell(event.Lock{State: event.LockAwaited, Holder: s.Holder.String(), Waiting: s.Waiting})
	}})
	if err != nil {
		n.err = err
		return
	}
	n.l.mu.Lock()
	n.l.held, n.l.fences = held, []connect.Fence{{Key: n.l.Key(), Token: held.Token(), Holder: who.String()}}
	n.l.mu.Unlock()
	n.tell(event.Lock{State: event.LockTaken, Token: held.Token()})
}

// look says in check mode, which takes no lock, who has it.
func (n *locking) look(ctx context.Context) {
	if n.l.looked.Swap(true) {
		return
	}
	s, err := n.l.Ask(ctx)
	switch {
	case err != nil:
		n.tell(event.Lock{State: event.LockUnknown, Reason: err.Error()})
	case s.Held:
		n.tell(event.Lock{State: event.LockOfOther, Holder: s.Holder.String(), Waiting: s.Waiting})
	default:
		n.tell(event.Lock{State: event.LockFree})
	}
}

func (n *locking) tell(e event.Lock) {
	e.Play, e.Lock = n.pr.name, n.l.spec.String()
	n.r.stream.Emit(e)
}

func (n *locking) unfold(context.Context, *run) *graph.Graph[node] {
	switch {
	case n.err == nil:
		return n.play
	case errors.Is(n.err, graph.ErrDrained):
		return nil
	}
	n.r.stream.Emit(event.NewProblem(diag.Diagnostic{Position: n.l.spec.at, Problem: n.err.Error(), Hint: lockRefused(n.err, n.l.spec)}))
	n.r.refused = true
	n.r.end(n.err.Error())
	return nil
}

// lockRefused is what to do where a lock was not to be had.
func lockRefused(err error, spec *lockSpec) string {
	var other *lock.HeldError
	if errors.As(err, &other) {
		return "--lock-wait 10m waits for it; pegbook locks PLAYBOOK shows who has it"
	}
	if spec.node == "" {
		return ""
	}
	hint := "these are the servers of " + spec.serversFrom
	switch {
	case spec.via != "":
		return hint + "; they are asked from " + spec.via
	case spec.viaFrom != "":
		return hint + "; where the control node cannot reach them, set " + spec.viaFrom + " to a host that can"
	}
	return hint + "; where the control node cannot reach them, give the lock via: and a host that can"
}

// holder is this run, for those whom its locks keep out.
func (r *run) holder() lock.Holder {
	h := r.opts.Holder
	h.Run, h.Playbook, h.Since = r.opts.RunID, r.plan.path(), r.opts.Now()
	return h
}

// unlocking is behind a play that has a lock: behind the last of them it is given back.
type unlocking struct {
	pr *playRun
	l  *runLock
}

func (n *unlocking) unfold(_ context.Context, r *run) *graph.Graph[node] {
	if n.l.left--; n.l.left == 0 {
		r.release(n.l)
	}
	return nil
}

// release gives a lock back.
func (r *run) release(l *runLock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held == nil {
		return
	}
	e := event.Lock{Lock: l.spec.String(), State: event.LockReleased}
	if err := l.held.Err(); err != nil {
		e.State, e.Reason = event.LockLost, err.Error()
	}
	if err := l.held.Release(); err != nil && e.Reason == "" {
		e.Reason = err.Error()
	}
	l.held, l.fences = nil, nil
	r.stream.Emit(e)
}

// releaseAll gives back what a run that ends still has.
func (r *run) releaseAll() {
	for _, key := range slices.Sorted(maps.Keys(r.locks)) {
		r.release(r.locks[key])
	}
}

// unlocked is why the run must not go on: it has lost a lock, or a host says that somebody else has it by now.
func (r *run) unlocked() error {
	for _, l := range r.locks {
		held := l.now()
		if held == nil {
			continue
		}
		select {
		case <-held.Lost():
			return held.Err()
		default:
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fenced
}

// mayAct asks, right before a step changes something, whether the play's lock is still held. A host that was, or will
// be, talked to directly is asked as well; requests to its helper carry the lock's token by themselves.
func (st *step) mayAct(ctx context.Context, x *prepared) error {
	held := st.lane.playRun.lock.now()
	if held == nil || st.r.opts.Check {
		return nil
	}
	if err := held.Ready(ctx); err != nil {
		return err
	}
	return x.host.mayAct(ctx)
}

// fences are the locks that a step's changes are made under.
func (st *step) fences() []connect.Fence {
	l := st.lane.playRun.lock
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fences
}

// refusedByHost notes that a host knows of a newer holder of a lock.
func (r *run) refusedByHost(err error) {
	var old *connect.FencedError
	if !errors.As(err, &old) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fenced == nil {
		r.fenced = old
	}
}

// watchLocks lets nothing more start once a lock is lost.
func (r *run) watchLocks() {
	if r.halted != nil {
		return
	}
	if err := r.unlocked(); err != nil {
		r.halt(halt{paused: true, message: err.Error() + "; nothing more was started" + r.whereabouts()})
	}
}

// lockTime bounds asking for who has a lock.
const lockTime = 30 * time.Second

// LockState is a lock of a plan, and who has it.
type LockState struct {
	Lock  string   `json:"lock"`
	Plays []string `json:"plays"`
	Held  bool     `json:"held"`
	// Holder is who has it, Waiting how many wait for it.
	Holder  *lock.Holder `json:"holder,omitempty"`
	Waiting int          `json:"waiting,omitempty"`
	// Problem says why it is not known.
	Problem string `json:"problem,omitempty"`
}

// Locks says who has the locks of the plan's plays. It takes none.
func (p *Plan) Locks(ctx context.Context, o Options) []LockState {
	o.Now = time.Now
	r := p.newRun(o)
	var all []LockState
	at := map[*runLock]int{}
	for _, b := range p.playbooks {
		for _, pl := range b.plays {
			if pl.lock == nil {
				continue
			}
			l := r.lockFrom(pl.lock)
			if _, known := at[l]; !known {
				at[l] = len(all)
				all = append(all, lockState(ctx, l))
			}
			s := &all[at[l]]
			s.Plays = append(s.Plays, pl.name)
		}
	}
	return all
}

func lockState(ctx context.Context, l *runLock) LockState {
	ctx, cancel := context.WithTimeout(ctx, lockTime)
	defer cancel()
	s := LockState{Lock: l.spec.String()}
	found, err := l.Ask(ctx)
	switch {
	case err != nil:
		s.Problem = err.Error()
	case found.Held:
		s.Held, s.Holder, s.Waiting = true, &found.Holder, found.Waiting
	}
	return s
}
