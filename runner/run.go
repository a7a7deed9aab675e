package runner

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pegbook/pegbook/modules/overlay"
	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/event"
	"github.com/pegbook/pegbook/runner/internal/graph"
	"github.com/pegbook/pegbook/runner/inventory"
	"github.com/pegbook/pegbook/runner/lock"
	"github.com/pegbook/pegbook/runner/playbook"
	"github.com/pegbook/pegbook/runner/secret"
	"github.com/pegbook/pegbook/runner/vars"
)

// Options are how to run.
type Options struct {
	// Connect opens hosts. Required.
	Connect Connector
	// Events takes what happens; nil drops it.
	Events event.Sink
	// Check proposes and does not do. Diff puts both sides of every diff into the events.
	Check, Diff bool
	// Forks is how many steps run at a time; 0 means 50.
	Forks int
	// Verbosity is what modules see as the number of -v.
	Verbosity int
	// Drain, when closed, lets the steps in flight end and starts nothing more; those that only wait are left. nil
	// never does.
	Drain <-chan struct{}
	// Confirm asks to type value before a play destroys something; an error is a refusal. nil refuses.
	Confirm func(ctx context.Context, message, value string) error
	// Gates are how gates are answered.
	Gates Gates
	// Commands are what somebody asks of the run from outside; nil: nobody does.
	Commands <-chan Command
	// Step asks before each task whether to do it; nil does not ask. It may be called from several goroutines.
	Step func(ctx context.Context, task string) (Leave, error)
	// Holder is who runs it, for those whom its locks keep out; the runner adds the run. LockWait is how long to wait
	// for a lock that somebody else has; 0 gives up at once.
	Holder   lock.Holder
	LockWait time.Duration
	// RunID names the run in its records.
	RunID string
	// Record keeps what the run would have to know to be gone on with; nil keeps nothing.
	Record Recorder
	// Past is the run to go on with; nil begins at the beginning.
	Past *Past
	// Undo is the run to take back; nil takes none back.
	Undo *Undo
	// Resume is the command that goes on with this run when it has stopped; "" where nothing is kept of it.
	Resume string
	// GoBack is the command that takes this run back; "" where that is not to be named.
	GoBack string
	// Now is the clock of the records; nil is the system's.
	Now func() time.Time
}

const defaultForks = 50

// run is a plan being run. What has no lock belongs to the walking goroutine.
type run struct {
	plan    *Plan
	opts    Options
	stream  *event.Stream
	secrets *secret.Set // what is masked in the stream
	shared  *overlay.Shared
	world   atomic.Pointer[inventoryNow]
	over    bool                 // nothing more is started, for a reason of the playbook's
	reason  string               // why, for people
	unasked bool                 // Step was told to ask no more
	refused bool                 // a confirmation or gate was refused
	failed  bool                 // a play failed that could not even begin
	moves   int                  // counts hosts that leave or come back
	inside  map[*player]*rowRun  // where players of the running batches are
	joined  []inventory.Addition // what the inventory got while running
	control

	confirming sync.Mutex      // held while a confirmation is asked; guards confirmed
	confirmed  map[string]bool // what was
	digests    sync.Map        // *row → digest
	inputs     inputs
	unkept     atomic.Pointer[error] // why the record cannot be written
	kept       atomic.Bool           // something was changed that can be put back
	cutOff     atomic.Int32          // steps of which nobody can tell whether they came to their end
	unlike     error                 // why the record cannot be gone on with
	leftOut    map[string]bool       // hosts that OnlyFailed has kept from steps; of the walking goroutine
	locks      map[string]*runLock   // by what they are; of the walking goroutine

	mu       sync.Mutex // guards the maps below
	hosts    map[string]*host
	varFiles map[string]*vars.Values
	contents map[included]*playbook.Content
	fenced   error // a host refused the run because somebody else has its lock
}

// Run carries the plan out. The error says what kept the run from starting; how hosts fared is in the
// outcome. When ctx is cancelled the steps in flight are cancelled and the outcome says interrupted.
func (p *Plan) Run(ctx context.Context, o Options) (Outcome, error) {
	if o.Connect == nil {
		return Outcome{}, errors.New("runner: no way to connect")
	}
	if o.Forks < 1 {
		o.Forks = defaultForks
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	r := p.newRun(o)
	if err := r.fits(); err != nil {
		return Outcome{}, err
	}
	if err := r.fitsUndo(); err != nil {
		return Outcome{}, err
	}
	if err := r.begins(); err != nil {
		return Outcome{}, err
	}
	return r.all(ctx), nil
}

func (p *Plan) newRun(o Options) *run {
	secrets := p.in.Files.Vault.Secrets()
	if secrets == nil {
		secrets = &secret.Set{}
	}
	secrets.Add(p.in.Defaults.Password, p.in.Defaults.BecomePassword)
	secrets.Add(p.privateAnswers()...)
	r := &run{plan: p, opts: o, stream: event.NewStream(o.Events, o.Now, secrets), secrets: secrets, shared: &overlay.Shared{},
		hosts: map[string]*host{}, varFiles: map[string]*vars.Values{}, contents: map[included]*playbook.Content{}, inside: map[*player]*rowRun{}, control: newControl(),
		locks: map[string]*runLock{}}
	r.inputs.begin(o.Past)
	r.setInventory(p.in.Inventory)
	return r
}

func (r *run) all(ctx context.Context) Outcome {
	start := r.opts.Now()
	r.stream.Emit(event.RunStarted{Run: r.opts.RunID, Playbook: r.plan.path(), Inventory: append([]string{}, r.plan.in.Sources...), Check: r.opts.Check, Steps: r.plan.steps(),
		ResumedFrom: r.resumedFrom(), RollsBack: r.opts.Undo.id(), Remembered: r.opts.Past.Remembered()})
	r.prepareLocks()
	var stopped error
	ctx, end := r.steered(ctx)
	for _, b := range r.plan.playbooks {
		stopped = graph.Walk(ctx, r.plays(b), r.limits(), walker{r})
		if stopped != nil || r.over || r.outcome().ExitCode() != 0 {
			break
		}
	}
	end()
	out := r.outcome()
	r.releaseAll()
	r.stopped(&out, stopped)
	out.Message = r.secrets.Text(out.Message)
	out.Took = r.opts.Now().Sub(start)
	r.stream.Emit(event.RunDone{Recap: out.Recap, ExitCode: out.ExitCode(), Message: out.Message, TookMS: milliseconds(out.Took)})
	return out
}

// end lets nothing more start.
func (r *run) end(reason string) {
	if !r.over {
		r.over, r.reason = true, reason
	}
}

// walker lets graph walk a run.
type walker struct{ r *run }

// node is something in the graph of a run. unfold is called on the walking goroutine.
type node interface {
	unfold(ctx context.Context, r *run) *graph.Graph[node]
}

// worker is a node with work of its own, done on another goroutine before it unfolds.
type worker interface {
	node
	work(ctx context.Context)
}

// Work does a step.
func (w walker) Work(ctx context.Context, n node) { n.(worker).work(ctx) }

// Unfold takes a step's result, or opens a play, batch or row.
func (w walker) Unfold(ctx context.Context, n node) *graph.Graph[node] { return n.unfold(ctx, w.r) }

// plays are a playbook's plays, each behind those it waits for.
func (r *run) plays(b *book) *graph.Graph[node] {
	g := &graph.Graph[node]{}
	ids := make([]graph.ID, len(b.plays))
	for i, p := range b.plays {
		var after []graph.ID
		for _, before := range p.needs {
			after = append(after, ids[before])
		}
		ids[i] = g.Add(&playRun{play: p}, after...)
	}
	return g
}

// playRun is a play being run.
type playRun struct {
	*play
	handlers handlers  // those of included roles as well
	public   []layered // variables of roles included for the whole play
	batches  [][]*inventory.Host
	all      []*inventory.Host
	players  map[string]*player
	magic    *vars.Values
	lock     *runLock // that the play holds; nil for none
	late     []string // hosts that joined while the play ran: named in its lists, not run on
	over     bool     // meta: end_play, or the play was lost
	told     bool     // that it has begun
}

func (pr *playRun) unfold(ctx context.Context, r *run) *graph.Graph[node] {
	if r.over {
		return nil
	}
	s := r.plan.playScope(pr.Play)
	if u := r.opts.Undo; u != nil && u.leftOut(pr, s) {
		return nil
	}
	hosts := pr.hosts
	if inv := r.inventory(); inv != r.plan.in.Inventory {
		found, problems := r.plan.selectHosts(pr.Play, inv, s)
		if problems.Failed() {
			r.failPlay(problems)
			return nil
		}
		hosts = found
	}
	hosts, cut, err := r.cut(pr, hosts, s)
	if err != nil {
		r.failPlay(err)
		return nil
	}
	pr.begin(hosts, cut, r.opts.Undo)
	if !r.opts.Past.knows(pr.place) {
		pr.tell(r)
	}
	g := &graph.Graph[node]{}
	var after []graph.ID
	if pr.Confirm != nil && len(hosts) > 0 {
		after = []graph.ID{g.AddWaiting(&confirmation{pr: pr, r: r})}
	}
	for i := range cut {
		if pr.watched() && !r.past(pr, i+1) {
			after = []graph.ID{g.AddWaiting(&guarding{watch: &watch{r: r, pr: pr, batch: i + 1}}, after...)}
		}
		after = []graph.ID{g.Add(&batchRun{pr: pr, number: i + 1}, after...)}
	}
	return r.locked(pr, g, after)
}

// begin gives the play its hosts.
func (pr *playRun) begin(hosts []*inventory.Host, cut [][]*inventory.Host, undo *Undo) {
	pr.handlers, pr.all, pr.batches = pr.play.handlers, hosts, cut
	pr.players = map[string]*player{}
	pr.magic = playMagic(pr.play, hosts, undo)
}

// failPlay ends the run because a play cannot begin.
func (r *run) failPlay(err error) {
	for _, d := range diagnosed(err, diag.Position{}) {
		r.stream.Emit(eventProblem(d))
	}
	r.failed = true
	r.end(err.Error())
}

// batchRun is a batch of a play.
type batchRun struct {
	pr     *playRun
	number int
}

func (b *batchRun) unfold(ctx context.Context, r *run) *graph.Graph[node] {
	if r.over || b.pr.over {
		return nil
	}
	whole := b.lane(r)
	before := map[*player]bool{}
	for _, p := range whole.players {
		if p.lost != notLost {
			before[p] = true
		}
	}
	if !r.opts.Past.knows(batchPlace(b.pr.place, b.number)) {
		whole.tell(r)
	}
	g := &graph.Graph[node]{}
	end := func() {}
	if b.pr.watched() && !r.past(b.pr, b.number) {
		end = (&watch{r: r, pr: b.pr, batch: b.number}).during(ctx)
	}
	g.Add(&batchEnd{whole, before, end}, whole.unroll(g, b.pr.rows)...)
	return g
}

// lane is the whole batch, at the beginning of the play.
func (b *batchRun) lane(r *run) *lane {
	whole := &lane{playRun: b.pr, batch: b.number, lists: &lists{}}
	for _, h := range b.pr.batches[b.number-1] {
		p := &player{host: r.stateOf(h)}
		_, there := r.inventory().Host(h.Name)
		p.ended = !there // it has left with meta: refresh_inventory
		b.pr.players[h.Name] = p
		whole.players = append(whole.players, p)
		whole.addresses = append(whole.addresses, addressOf(h))
	}
	whole.all = whole.players
	return whole
}

// addressOf is the address that a host's connection uses, as far as the inventory alone says.
func addressOf(h *inventory.Host) string {
	for _, name := range []string{"ansible_ssh_host", "ansible_host"} {
		if v, ok := h.Vars.Get(name); ok {
			if d, ok := v.Static(); ok {
				return d.Text()
			}
		}
	}
	return h.Name
}

// batchEnd is when every host of a batch has been through the play.
type batchEnd struct {
	*lane
	before  map[*player]bool // hosts lost before the batch began
	unwatch func()           // ends the looks of the guard
}

// unfold ends the run when the batch lost its last host: the next one would go the same way.
func (b *batchEnd) unfold(_ context.Context, r *run) *graph.Graph[node] {
	b.unwatch()
	lost := 0
	for _, p := range b.players {
		if p.lost != notLost {
			lost++
		}
		p.blocks, p.notified = nil, nil
		delete(r.inside, p)
	}
	if b.watched() && lost == 0 && !r.over && !b.over {
		r.pass(b.playRun, b.batch)
	}
	if lost == len(b.players) && lost > len(b.before) {
		r.end(fmt.Sprintf("play %s: %s, so nothing more was started", b.name, b.allLost()))
	}
	return nil
}

// allLost says how it came that no host of the batch is left.
func (b *batchEnd) allLost() string {
	var failed []string
	stopped := 0
	for _, p := range b.players {
		switch {
		case b.before[p]:
		case p.lost == lostStopped:
			stopped++
		default:
			failed = append(failed, p.Name)
		}
	}
	switch {
	case len(b.players) == 1:
		return fmt.Sprintf("%s, the only host of batch %d, is lost", b.players[0].Name, b.batch)
	case stopped > 0 && len(failed) > 0:
		return fmt.Sprintf("what failed on %s stops every host of batch %d (run_once or any_errors_fatal)", someNames(failed), b.batch)
	}
	return fmt.Sprintf("every host of batch %d is lost", b.batch)
}

// lane is hosts that go through rows in lockstep: a batch, under strategy free one host.
type lane struct {
	*playRun
	batch     int
	players   []*player
	all       []*player // of the batch
	addresses []string
	lists     *lists
	ended     *bool // meta: end_batch; shared by the lanes of a batch
	free      bool  // hosts do not wait for one another
}

// unroll adds the rows of a play, as its strategy orders them, and gives the last nodes.
func (l *lane) unroll(g *graph.Graph[node], rows strand) []graph.ID {
	l.ended = new(bool)
	if l.Strategy == "" || l.Strategy == "linear" {
		return l.strand(g, rows, nil)
	}
	lanes := make([]*lane, len(l.players))
	last := make([][]graph.ID, len(l.players))
	for i, p := range l.players {
		alone := *l
		alone.players, alone.free = []*player{p}, true
		lanes[i] = &alone
	}
	if l.Strategy == "host_pinned" {
		// Host after host: of the steps that are ready the earliest added goes first, so a host that has
		// begun goes on before another one begins.
		for i := range lanes {
			last[i] = lanes[i].strand(g, rows, nil)
		}
	} else {
		for _, e := range rows {
			for i := range lanes {
				last[i] = lanes[i].element(g, e, last[i])
			}
		}
	}
	var ends []graph.ID
	for _, ids := range last {
		ends = append(ends, ids...)
	}
	return ends
}

func (l *lane) strand(g *graph.Graph[node], rows strand, after []graph.ID) []graph.ID {
	for _, e := range rows {
		after = l.element(g, e, after)
	}
	return after
}

func (l *lane) element(g *graph.Graph[node], e element, after []graph.ID) []graph.ID {
	if e.parallel == nil {
		return []graph.ID{g.Add(&opening{l, e.row}, after...)}
	}
	var ends []graph.ID
	for _, side := range e.parallel {
		ends = append(ends, l.strand(g, side, after)...)
	}
	return ends
}

// part gives the lane with fewer hosts.
func (l *lane) part(players []*player) *lane {
	in := *l
	in.players = players
	return &in
}
