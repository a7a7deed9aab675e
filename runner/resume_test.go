package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/modtest"
	"github.com/pegbook/pegbook/runner/connect"
	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/event"
	"github.com/pegbook/pegbook/runner/inventory"
	"github.com/pegbook/pegbook/runner/playbook"
)

var errKilled = errors.New("killed")

// site is hosts in memory and the record of a run on them. The process that works on them can be killed: at that
// moment nothing more happens to the hosts or gets into the record.
type site struct {
	mu       sync.Mutex // guards the rest
	hosts    map[string]*siteHost
	changes  map[string][]string // host → what was done to it, in order
	entries  []Entry
	kill     func()
	dead     bool
	records  int // what has happened in this life of the process
	acts     int
	killAt   int  // this record is not written any more; 0 never
	killAct  int  // this act is the last
	before   bool // it is not done any more
	inFlight InFlight
	asked    map[string]int // question → how often somebody was asked
	question string         // the last one
	unheard  string         // the one whose answer the process that was killed did not keep
	missed   int            // commands that were to be run when the process was killed, and were not
	plan     *Plan          // of every life; nil: each has its own
	read     *read          // nil: each life reads the playbook anew
	decide   func() InFlight
	undo     []Entry // of the run that is taken back
}

func newSite() *site {
	return &site{hosts: map[string]*siteHost{}, changes: map[string][]string{}, asked: map[string]int{}}
}

// read is a playbook with its inventories as they were read.
type read struct {
	book *playbook.Playbook
	of   map[string]*inventory.Inventory // by file
}

// inventory is the file of what there is: a machine is added when h1 has been told so.
func (s *site) inventory() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.hosts["h1"]; h != nil && h.Content("/machine") != "" {
		return "later.yml"
	}
	return "hosts.yml"
}

// question counts how often somebody is asked; nobody answers a process that is dead.
func (s *site) ask(what string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead {
		return errKilled
	}
	s.asked[what]++
	s.question = what
	return nil
}

// answers answers what a run asks.
func (s *site) answers(o *Options) {
	o.Confirm = func(_ context.Context, message, value string) error { return s.ask(message + " " + value) }
	o.Gates.Ask = func(_ context.Context, g event.GateWaiting) (bool, string, error) {
		return true, "alice", s.ask(fmt.Sprint(g.Task, " ", g.Batch, " ", g.Message))
	}
	o.Step = func(_ context.Context, task string) (Leave, error) {
		switch task {
		case "not wanted":
			return LeaveNot, s.ask("step " + task)
		case "do all":
			return LeaveAll, s.ask("step " + task)
		}
		return LeaveOne, s.ask("step " + task)
	}
}

func (s *site) die() error {
	s.dead = true
	s.kill()
	return errKilled
}

// Keep keeps an entry, unless the process is dead.
func (s *site) Err() error { return nil }

func (s *site) Keep(e Entry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead {
		return errKilled
	}
	if s.records++; s.records == s.killAt {
		if e.isAnswer() {
			s.unheard = s.question
		}
		return s.die()
	}
	raw, err := json.Marshal(e)
	if err != nil {
		return err
	}
	var kept Entry
	if err := json.Unmarshal(raw, &kept); err != nil {
		return err
	}
	s.entries = append(s.entries, kept)
	return nil
}

// isAnswer says whether somebody was asked for what is kept.
func (e Entry) isAnswer() bool {
	return e.Kind == EntryDecided && (strings.HasPrefix(e.Place, "confirm ") || strings.HasSuffix(e.Place, " gate") || strings.Contains(e.Place, " step"))
}

// act changes a host, if the process lives.
func (s *site) act(host, what string, do func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead {
		return &modules.UnreachableError{Host: host, Err: errKilled}
	}
	s.acts++
	if s.acts == s.killAct && s.before {
		return s.die()
	}
	s.changes[host] = append(s.changes[host], what)
	err := do()
	if s.acts == s.killAct {
		return s.die()
	}
	return err
}

// Open gives a host.
func (s *site) Open(_ context.Context, a connect.Address, _ connect.Become) (modules.Host, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hosts[a.Name] == nil {
		s.hosts[a.Name] = &siteHost{Machine: modtest.NewMachine(a.Name), site: s, jobs: map[string]modules.JobState{}, counts: map[string]int{}}
	}
	return s.hosts[a.Name], nil
}

type siteHost struct {
	*modtest.Machine
	site   *site
	jobs   map[string]modules.JobState
	counts map[string]int
}

var _ modules.Jobs = (*siteHost)(nil)

func (h *siteHost) Apply(ctx context.Context, changes ...modules.Change) error {
	var what []string
	for _, c := range changes {
		what = append(what, fmt.Sprint(c.Kind, " ", c.Path))
	}
	return h.site.act(h.Name(), strings.Join(what, ","), func() error { return h.Machine.Apply(context.WithoutCancel(ctx), changes...) })
}

// Run does a command, which says how often it was done.
func (h *siteHost) Run(_ context.Context, cmd modules.Command) (out modules.Output, err error) {
	line := strings.Join(cmd.Argv, " ")
	err = h.site.act(h.Name(), "run "+line, func() error {
		h.counts[line]++
		out.Stdout = fmt.Append(nil, h.counts[line])
		return nil
	})
	return out, err
}

func (h *siteHost) StartJob(_ context.Context, job modules.Job) (modules.JobState, error) {
	h.site.mu.Lock()
	state, has := h.jobs[job.ID]
	h.site.mu.Unlock()
	if has {
		return state, nil
	}
	state = modules.JobState{ID: job.ID, Finished: true, Output: modules.Output{Stdout: []byte("worked")}}
	return state, h.site.act(h.Name(), "job "+strings.Join(job.Command.Argv, " "), func() error {
		h.jobs[job.ID] = state
		return nil
	})
}

func (h *siteHost) Job(_ context.Context, id string) (modules.JobState, error) {
	h.site.mu.Lock()
	defer h.site.mu.Unlock()
	return h.jobs[id], nil
}

func (h *siteHost) ForgetJob(_ context.Context, id string) (modules.JobState, error) {
	return modules.JobState{}, h.site.act(h.Name(), "forget job", func() error {
		delete(h.jobs, id)
		return nil
	})
}

type writeArgs struct {
	Path    string `arg:"path,path,required" doc:"file"`
	Content string `arg:"content,required" doc:"what is in it"`
}

type fileArgs struct {
	File string `arg:"file,free,required,file=vars" doc:"file"`
}

type keyArgs struct {
	Key string `arg:"key,required" doc:"group"`
}

type joinArgs struct {
	Name   string                     `arg:"name,required" doc:"host"`
	Groups []string                   `arg:"groups" doc:"groups"`
	Vars   map[string]json.RawMessage `arg:",rest" doc:"variables"`
}

// siteModules are the test modules with such that change files by their content, run commands that must not be run
// twice, gather facts and join the inventory.
func siteModules() Set {
	fact := func(v any) json.RawMessage {
		raw, _ := json.Marshal(v)
		return raw
	}
	found := func(_ context.Context, call *modules.Call, _ struct{}) (*modules.Proposal, error) {
		return &modules.Proposal{Facts: map[string]json.RawMessage{"kernel": fact("kernel of " + call.Host.Name())}, FactRank: modules.RankFound}, nil
	}
	run := func(_ context.Context, _ *modules.Call, a shArgs) (*modules.Proposal, error) {
		out := &output{}
		return &modules.Proposal{Once: true, Diff: []modules.Diff{{Subject: a.Cmd}}, Output: out, Do: func(ctx context.Context, h modules.Host) error {
			got, err := h.Run(ctx, modules.Command{Argv: strings.Fields(a.Cmd)})
			out.RC, out.Stdout = got.ExitCode, string(got.Stdout)
			return err
		}}, nil
	}
	job := modules.Define("job", "Run a job.", run)
	job.Runs = true
	setup, look := modules.Define("setup", "Find facts.", found), modules.Define("look", "Find facts.", found)
	setup.Facts, look.Facts = []string{"kernel"}, []string{"kernel"}
	touch := modules.Define("touch", "Make a file.", func(ctx context.Context, call *modules.Call, a touchArgs) (*modules.Proposal, error) {
		files, err := call.Host.Look(ctx, modules.Query{Path: a.Path})
		if err != nil || files[0].Kind != modules.Missing {
			return &modules.Proposal{}, err
		}
		p := &modules.Proposal{Diff: []modules.Diff{{Subject: a.Path}}}
		p.Change(modules.Change{Kind: modules.WriteFile, Path: a.Path, Content: modules.Bytes("", nil)})
		return p, nil
	})
	touch.Gathers = true
	pick := func(name string) *modules.Module { m, _ := testModules().Lookup(name); return m }
	return NewSet(pick("set_fact"), pick("fail"), pick("say"), touch, job,
		modules.Define("add", "Do something that counts.", run),
		setup, look,
		modules.Define("write", "Write a file.", func(ctx context.Context, call *modules.Call, a writeArgs) (*modules.Proposal, error) {
			files, err := call.Host.Look(ctx, modules.Query{Path: a.Path, Content: 1 << 20})
			if err != nil || files[0].Kind != modules.Missing && string(files[0].Content) == a.Content {
				return &modules.Proposal{}, err
			}
			return &modules.Proposal{Diff: []modules.Diff{{Subject: a.Path}}, Do: func(ctx context.Context, h modules.Host) error {
				return h.Apply(ctx, modules.Change{Kind: modules.WriteFile, Path: a.Path, Content: modules.Bytes("", []byte(a.Content))})
			}}, nil
		}),
		modules.Define("include_vars", "Read variables.", func(_ context.Context, call *modules.Call, a fileArgs) (*modules.Proposal, error) {
			source, err := call.Open("vars", a.File)
			if err != nil {
				return nil, err
			}
			return &modules.Proposal{VarFiles: []modules.VarFile{{Source: source}}}, nil
		}),
		modules.Define("group_by", "Join a group.", func(_ context.Context, _ *modules.Call, a keyArgs) (*modules.Proposal, error) {
			return &modules.Proposal{Joins: []modules.Join{{Groups: []string{a.Key}}}}, nil
		}),
		modules.Define("add_host", "Join the inventory.", func(_ context.Context, _ *modules.Call, a joinArgs) (*modules.Proposal, error) {
			return &modules.Proposal{Joins: []modules.Join{{Host: a.Name, Groups: a.Groups, Vars: a.Vars}}}, nil
		}),
	)
}

// planOf compiles the playbook in a folder, as each process does.
func (s *site) planOf(t testing.TB, dir string) *Plan {
	t.Helper()
	if s.plan != nil {
		return s.plan
	}
	from := s.read
	if from == nil {
		from = readSite(t, dir)
	}
	plan, problems := Compile(Inputs{Playbooks: []*playbook.Playbook{from.book}, Inventory: from.of[s.inventory()], Modules: siteModules(),
		Reload: func(context.Context, json.RawMessage) (*inventory.Inventory, json.RawMessage, diag.List) {
			return from.of[s.inventory()], nil, nil
		}})
	require.NoError(t, problems.Err())
	return plan
}

// readSite reads the playbook in a folder, with the inventories that there are.
func readSite(t testing.TB, dir string) *read {
	t.Helper()
	r := &read{of: map[string]*inventory.Inventory{}}
	var problems diag.List
	r.book, problems = playbook.Parse(filepath.Join(dir, "site.yml"), playbook.Options{})
	require.NoError(t, problems.Err())
	for _, name := range []string{"hosts.yml", "later.yml"} {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err != nil {
			continue
		}
		r.of[name], problems = inventory.Load(context.Background(), inventory.Options{Sources: []string{path}, PlaybookDir: dir})
		require.NoError(t, problems.Err())
	}
	return r
}

// life is one life of the process: from the beginning, or from what the record of the site has.
func (s *site) life(t testing.TB, dir string, forks int) (Outcome, *records) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	s.mu.Lock()
	s.kill, s.dead, s.records, s.acts = cancel, false, 0, 0
	entries := slices.Clone(s.entries)
	s.mu.Unlock()
	plan := s.planOf(t, dir)
	seen := &records{}
	o := Options{Connect: s, Record: s, Events: seen, Forks: forks, RunID: "r1"}
	s.answers(&o)
	if s.undo != nil {
		undo, err := NewUndo("r0", s.undo)
		require.NoError(t, err)
		o.Undo = undo
	}
	answers := []string{"42"}
	if len(entries) > 0 {
		past, err := NewPast(slices.Values(entries))
		require.NoError(t, err)
		past.InFlight = s.inFlight
		o.Past = past
		if given, ok := past.Answers(); ok {
			answers = given
		}
	}
	if len(plan.Questions()) > 0 {
		answered, problems := plan.Answered(answers)
		require.NoError(t, problems.Err())
		plan = answered
	}
	out, err := plan.Run(ctx, o)
	if !errors.Is(err, errKilled) {
		require.NoError(t, err)
	}
	return out, seen
}

// state is how the hosts are: their files, the token being the same everywhere.
func (s *site) state(t testing.TB) map[string]string {
	t.Helper()
	all := map[string]string{}
	token := strings.Fields(s.hosts["h1"].Content("/early") + " none")[0]
	for name, h := range s.hosts {
		for path := range h.Snapshot() {
			all[name+path] = strings.ReplaceAll(h.Content(path), token, "TOKEN")
		}
	}
	return all
}

// works are the changes of a host without what is no part of the playbook.
func works(changes map[string][]string) map[string][]string {
	out := map[string][]string{}
	for host, list := range changes {
		out[host] = slices.DeleteFunc(slices.Clone(list), func(what string) bool { return what == "forget job" })
	}
	return out
}

// everything writes the playbook that uses the whole language.
func everything(t testing.TB) string {
	text, err := os.ReadFile("testdata/everything.txt")
	require.NoError(t, err)
	return writeFiles(t.(*testing.T), string(text))
}

// tally is what came of killing and resuming.
type tally struct{ lives, kills, boundaries, acts, differences int }

// resumed kills a run as set, goes on with it, and compares what came of it with a run that was not killed.
func (n *tally) resumed(t *testing.T, dir, what string, forks int, whole *site, wanted Outcome, s *site) {
	t.Helper()
	n.kills++
	s.life(t, dir, forks)
	n.lives++
	if !s.dead {
		return
	}
	s.killAt, s.killAct, s.inFlight = 0, 0, s.decide()
	out, _ := s.life(t, dir, forks)
	n.lives++
	ok := assert.Equal(t, works(whole.changes), works(s.changes), "%s: what was done", what)
	ok = assert.Equal(t, wanted.Recap, out.Recap, "%s: recap", what) && ok
	ok = assert.Equal(t, wanted.ExitCode(), out.ExitCode(), "%s: exit code: %s", what, out.Message) && ok
	ok = assert.Empty(t, s.askedAgain(whole), "%s: what was asked", what) && ok
	if s.inFlight == InFlightRerun { // of what is taken as done nobody knows the output
		ok = assert.Equal(t, whole.state(t), s.state(t), "%s: end state", what) && ok
	}
	if !ok {
		n.differences++
	}
}

// askedAgain lists the questions that were not asked as often as in a run that was not killed. The one whose answer was
// not kept any more is asked again.
func (s *site) askedAgain(whole *site) []string {
	var wrong []string
	for what, n := range s.asked {
		if what == s.unheard {
			n--
		}
		if n != whole.asked[what] {
			wrong = append(wrong, fmt.Sprintf("%s: %d times instead of %d", what, n, whole.asked[what]))
		}
	}
	for what := range whole.asked {
		if s.asked[what] == 0 {
			wrong = append(wrong, what+": never")
		}
	}
	return wrong
}

func TestARunKilledAtEveryBoundaryGoesOnAsIfNothingHadHappened(t *testing.T) {
	dir := everything(t)
	whole := newSite()
	wanted, seen := whole.life(t, dir, 1)
	read := readSite(t, dir)
	require.Equal(t, 2, wanted.ExitCode(), "%v", seen.done())
	require.Contains(t, whole.state(t)["h1/dump"], "TOKEN", "%s\n%s", wanted.Message, strings.Join(seen.done(), "\n"))
	n := tally{boundaries: whole.records, acts: whole.acts}
	step := 17
	if os.Getenv("PEGBOOK_TEST_EVERY_BOUNDARY") != "" { // make resume
		step = 1
	}
	for at := 1; at <= whole.records && n.differences < 3; at += step {
		s := newSite()
		s.killAt = at
		if at%25 != 0 {
			s.read = read
		}
		s.decide = func() InFlight { return s.choice(s.entries, whole.entries[at-1].Kind != EntryActing) }
		n.resumed(t, dir, fmt.Sprintf("killed before record %d of %d (%v)", at, whole.records, brief(whole.entries[at-1])), 1, whole, wanted, s)
	}
	for at := 1; at <= whole.acts && n.differences < 3; at += step {
		for _, before := range []bool{true, false} {
			s := newSite()
			s.read = read
			s.killAct, s.before = at, before
			s.decide = func() InFlight { return s.choice(s.entries, !before) }
			n.resumed(t, dir, fmt.Sprintf("killed at act %d of %d, before it: %v", at, whole.acts, before), 1, whole, wanted, s)
		}
	}
	t.Logf("%d record boundaries, %d acts: %d kills, %d differences", n.boundaries, n.acts, n.kills, n.differences)
}

// choice is what somebody who looks at the hosts says about the command under way when a record is not written any
// more, or with done an act was the last: with one fork there is one at most. What is tried until it is enough may be
// tried again, but for the last time.
func (s *site) choice(entries []Entry, done bool) InFlight {
	for i, was := range slices.Backward(entries) {
		switch was.Kind {
		case EntryActing:
			if !done || was.Task == "until" && (i == 0 || entries[i-1].Kind != EntryTried) {
				return InFlightRerun
			}
			return InFlightSkip
		case EntryDone, EntryTried:
			return InFlightRerun
		}
	}
	return InFlightRerun
}

func brief(e Entry) string {
	return fmt.Sprint(e.Kind, " ", e.Place, " ", e.Host, " ", e.Item, " ", e.Task)
}

func TestARunWithManyForksKilledAtRandomGoesOn(t *testing.T) {
	dir := everything(t)
	whole := newSite()
	whole.read = readSite(t, dir)
	wanted, _ := whole.life(t, dir, 4)
	n, mixed := tally{}, 0
	rounds := 20
	if os.Getenv("PEGBOOK_TEST_EVERY_BOUNDARY") != "" {
		rounds = 200
	}
	for seed := range int64(rounds) {
		if n.differences > 3 {
			break
		}
		rnd := rand.New(rand.NewSource(seed))
		s := newSite()
		s.read = whole.read
		for life := 0; life < 1+rnd.Intn(4); life++ { // killed again while it goes on
			s.killAt = 1 + rnd.Intn(whole.records/2)
			s.life(t, dir, 4)
			n.kills++
			choice, ok := s.operator(t)
			if !ok {
				mixed++
				s = newSite()
				s.read = whole.read
				continue
			}
			s.inFlight = choice
		}
		s.killAt = 0
		out, _ := s.life(t, dir, 4)
		ok := assert.Equal(t, sorted(works(whole.changes)), sorted(works(s.changes)), "seed %d: what was done", seed)
		ok = assert.Equal(t, wanted.Recap, out.Recap, "seed %d: recap", seed) && ok
		if !ok {
			n.differences++
		}
	}
	t.Logf("%d runs, %d kills at random with 4 forks (%d begun anew: several commands under way that nobody decides about as one), %d differences", rounds, n.kills, mixed, n.differences)
}

// operator looks at the hosts: whether the commands under way were done. False: some were and some not.
func (s *site) operator(t testing.TB) (InFlight, bool) {
	past, err := NewPast(slices.Values(s.entries))
	require.NoError(t, err)
	all := 0
	for _, e := range s.entries {
		if e.Kind == EntryActing && strings.Contains(string(e.State), `"once":true`) {
			all++
		}
	}
	flying := past.Undecided()
	if len(flying) == 0 {
		return InFlightRerun, true
	}
	acted := 0
	for _, list := range s.changes {
		for _, what := range list {
			if strings.HasPrefix(what, "run ") {
				acted++
			}
		}
	}
	switch {
	case slices.ContainsFunc(flying, func(f Flying) bool { return f.Task == "until" }): // has to be seen one by one
	case acted == all-s.missed:
		return InFlightSkip, true
	case acted == all-s.missed-len(flying):
		s.missed += len(flying)
		return InFlightRerun, true
	}
	return "", false
}

func sorted(changes map[string][]string) map[string][]string {
	for _, list := range changes {
		slices.Sort(list)
	}
	return changes
}
