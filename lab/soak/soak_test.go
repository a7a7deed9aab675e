package main

import (
	"fmt"
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/lab/stage"
	"github.com/pegbook/pegbook/lab/traffic"
)

func TestASlopeTellsALeakFromNoise(t *testing.T) {
	series := func(of func(i int) float64) (all []float64) {
		for i := range 40 {
			all = append(all, of(i))
		}
		return all
	}
	for what, c := range map[string]struct {
		values []float64
		leaks  bool
	}{
		"level":               {series(func(int) float64 { return 10 }), false},
		"one more each run":   {series(func(i int) float64 { return float64(10 + i) }), true},
		"one in five runs":    {series(func(i int) float64 { return float64(10 + i/5) }), true},
		"up and down":         {series(func(i int) float64 { return float64(10 + i%7) }), false},
		"a peak":              {series(func(i int) float64 { return map[bool]float64{true: 500, false: 10}[i == 35] }), false},
		"a step at the start": {series(func(i int) float64 { return float64(min(12, 10+i)) }), false},
		"too few to tell":     {[]float64{1, 2, 3, 4}, false},
		"nothing":             {nil, false},
	} {
		l := trend("it", "things", c.values, 0.1, false)
		assert.Equal(t, c.leaks, l.leaks(), "%s: %+v", what, l)
	}
}

func TestChanceFollowsFromTheSeedAndTheNumberAlone(t *testing.T) {
	o := options{seed: 5, faults: regexp.MustCompile("")}
	first, second := &session{o: o, deck: deck(o)}, &session{o: o, deck: deck(o)}
	require.NotEmpty(t, first.deck)
	seen := map[string]int{}
	for number := range len(first.deck) {
		seen[first.fault(number+1).name]++
	}
	for number := 300; number > 0; number-- {
		assert.Equal(t, first.fault(number).name, second.fault(number).name)
		assert.Equal(t, first.chance(number).Uint64(), second.chance(number).Uint64())
	}
	for _, f := range faults() {
		if f.root && os.Geteuid() != 0 {
			continue
		}
		assert.Equal(t, max(1, f.often), seen[f.name], "%s comes as often as it is to, in each round", f.name)
	}
	assert.Equal(t, "make soak SEED=5 ONLY=37", o.again(37))
}

// TestJudgesFind lets everything be wrong that judges look at, one thing at a time.
func TestJudgesFind(t *testing.T) {
	good := func() *play {
		return &play{fault: &fault{}, kind: some, out: &row{seen: stage.Seen{Least: 2}, saw: traffic.Summary{Operations: 5}}}
	}
	p := good()
	p.judgeClients()
	require.Empty(t, p.out.wrong)
	for what, spoil := range map[string]func(p *play){
		"3 acknowledged writes were lost": func(p *play) { p.out.saw.LostWrites, p.fault.failed = 3, true },
		"1 operations failed":             func(p *play) { p.out.saw.Failures = 1 },
		"1 live copies of partition 2.3":  func(p *play) { p.out.seen.Least, p.out.seen.Which = 1, "partition 2.3" },
		"0 live copies of partition 2.3":  func(p *play) { p.out.seen.Least, p.out.seen.Which, p.fault.one = 0, "partition 2.3", true },
	} {
		p := good()
		spoil(p)
		p.judgeClients()
		require.Len(t, p.out.wrong, 1, what)
		require.Contains(t, p.out.wrong[0], what)
	}
	p = good()
	p.out.saw.Failures, p.fault.failed, p.out.seen.Least, p.fault.one = 7, true, 1, true
	p.judgeClients()
	require.Empty(t, p.out.wrong, "the fault may do that")
}

// TestAJournalMayLackTheLastMomentOfAKilledRunAlone counts the ends that must be there.
func TestAJournalMayLackTheLastMomentOfAKilledRunAlone(t *testing.T) {
	begun := time.Now()
	at := func(event string, ms int) stage.Record {
		return stage.Record{Event: event, Time: begun.Add(time.Duration(ms) * time.Millisecond)}
	}
	all := []stage.Record{at("task_done", 0), at("task_started", 10), at("task_done", 899), at("task_done", 950), at("run_done", 1000)}
	require.Equal(t, 3, mustBeKept(all, 0))
	require.Equal(t, 3, mustBeKept(all, 130))
	require.Equal(t, 2, mustBeKept(all, -9), "also when it had shown its end")
	require.Equal(t, 1, mustBeKept(all[:4], -9), "51 ms before the last that was shown")
	require.Zero(t, mustBeKept(nil, -9))
}

// TestWhatIsWrongFailsTheSoak looks for the command that plays it again.
func TestWhatIsWrongFailsTheSoak(t *testing.T) {
	o := options{seed: 5}
	fine := &row{Number: 1, Fault: "none", What: "none", Codes: []int{0}, seen: stage.Seen{Least: 2, Looks: 9}}
	wrong := &row{Number: 37, Fault: "pegbook-killed", What: "pegbook is killed (-9)", Codes: []int{-9, 0}, seen: stage.Seen{Least: 2, Looks: 9}, wrong: []string{"a thing"}}
	r := &report{rows: []*row{fine}}
	require.NoError(t, r.verdict(o))
	require.Contains(t, r.table(), "1 × 0")
	r.rows = append(r.rows, wrong)
	require.ErrorContains(t, r.verdict(o), "make soak SEED=5 ONLY=37")
	require.Contains(t, r.markdown(), "| pegbook is killed (-9) | 1 | 1 × WRONG | 0 | 1 |")
	require.Contains(t, r.markdown(), "| 37 | pegbook-killed | a thing |")
	var rising []float64
	for i := range 30 {
		rising = append(rising, float64(i))
	}
	require.ErrorContains(t, (&report{InProcess: &inProcess{Goroutines: rising}}).verdict(o), "goroutines grow by 1 a run")
	require.ErrorContains(t, (&report{InProcess: &inProcess{Wrong: []string{"run 3 in one process"}}}).verdict(o), "run 3 in one process")
}

func TestAStarvedMachineIsNoticed(t *testing.T) {
	began := time.Now()
	s := &starved{spans: []span{{began.Add(-time.Minute), 5 * time.Second}, {began.Add(time.Second), 300 * time.Millisecond}, {began.Add(2 * time.Second), 200 * time.Millisecond}}}
	require.Equal(t, 300*time.Millisecond, s.worst(began))
	require.Zero(t, s.worst(began.Add(time.Hour)), fmt.Sprint(s.spans))
}
