package render

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/pegbook/pegbook/runner/event"
)

// Forecast says how long a run is expected to take, from a run of it in check mode: what modules say that they will wait for,
// and the time that this run itself took for looking, which the real run looks as well. Hosts of a batch work
// side by side, so the slowest of them counts; batches and plays follow one another.
type Forecast struct {
	w     io.Writer
	o     Options
	plain *Plain
	plays []*forecastPlay
	bad   bool
}

// forecastPlay is a play with its batches.
type forecastPlay struct {
	name    string
	batches []*forecastBatch
}

// forecastBatch is what the hosts of a batch are expected to take.
type forecastBatch struct {
	hosts  []string
	waits  map[string]time.Duration
	unsure map[string]bool // tasks of which nobody can tell how long they take
	begun  time.Time
	looked time.Duration // how long the run in check mode took
}

// NewForecast makes a sink that writes the forecast to w when the run is over.
func NewForecast(w io.Writer, o Options) *Forecast {
	return &Forecast{w: w, o: o, plain: NewPlain(w, o)}
}

// Record takes one record.
func (f *Forecast) Record(rec event.Record) {
	switch e := rec.Event.(type) {
	case event.PlayStarted:
		f.plays = append(f.plays, &forecastPlay{name: e.Play})
	case event.BatchStarted:
		if len(f.plays) > 0 {
			p := f.plays[len(f.plays)-1]
			p.batches = append(p.batches, &forecastBatch{hosts: e.Hosts, waits: map[string]time.Duration{}, unsure: map[string]bool{}, begun: rec.Time})
		}
	case event.TaskDone:
		f.done(rec.Time, e)
	case event.Problem, event.Lock:
		f.plain.Record(rec)
	case event.RunDone:
		f.table(e)
	}
}

func (f *Forecast) done(at time.Time, e event.TaskDone) {
	if e.Status == event.Failed || e.Status == event.Unreachable {
		f.plain.Record(event.Record{Event: e})
		f.bad = f.bad || !e.Ignored && !e.Rescued
	}
	if len(f.plays) == 0 || len(f.plays[len(f.plays)-1].batches) == 0 {
		return
	}
	p := f.plays[len(f.plays)-1]
	b := p.batches[len(p.batches)-1]
	b.looked = at.Sub(b.begun)
	b.waits[e.Host] += time.Duration(e.ExpectsMS * float64(time.Millisecond))
	if e.Status == event.Unknown && e.ExpectsMS == 0 {
		b.unsure[e.Task] = true
	}
}

// takes is how long a batch is expected to take.
func (b *forecastBatch) takes() time.Duration {
	var slowest time.Duration
	for _, d := range b.waits {
		slowest = max(slowest, d)
	}
	return slowest + b.looked
}

// shortest is what is worth a line of its own.
const shortest = 500 * time.Millisecond

func (f *Forecast) table(done event.RunDone) {
	paint := paint{f.o.Color}
	if f.bad {
		fmt.Fprintf(f.w, "no forecast: the run would end early\n")
		recap(f.w, paint, done)
		return
	}
	fmt.Fprintf(f.w, "%s\n", paint.in(bold, "FORECAST"))
	var total time.Duration
	var unsure []string
	for _, p := range f.plays {
		var sum time.Duration
		for _, b := range p.batches {
			sum += b.takes()
			for task := range b.unsure {
				unsure = append(unsure, task)
			}
		}
		total += sum
		fmt.Fprintf(f.w, "  %8s  %s\n", Duration(sum), Clean(p.name, false))
		if len(p.batches) < 2 {
			continue
		}
		for _, b := range p.batches {
			if d := b.takes(); d >= shortest {
				fmt.Fprintf(f.w, "  %8s    %s\n", Duration(d), Names(b.hosts))
			}
		}
	}
	fmt.Fprintf(f.w, "  %8s  %s\n", Duration(total), paint.in(bold, "in all, as far as modules can tell"))
	fmt.Fprintf(f.w, "Not in it: sending packages, loading and copying data, and %s.\n", f.besides(unsure))
}

// besides names what nobody can tell the duration of.
func (f *Forecast) besides(unsure []string) string {
	if len(unsure) == 0 {
		return "whatever goes wrong"
	}
	seen := map[string]bool{}
	var names []string
	for _, name := range unsure {
		if !seen[name] {
			seen[name] = true
			names = append(names, fmt.Sprintf("%q", Clean(name, false)))
		}
	}
	if len(names) > 3 {
		names = append(names[:3], fmt.Sprintf("%d more", len(names)-3))
	}
	return strings.Join(names, ", ")
}
