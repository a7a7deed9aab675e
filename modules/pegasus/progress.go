package pegasus

import (
	"time"

	"github.com/pegbook/pegbook/modules"
)

// progress tells how far a wait has come, always in the same form: what is left, and of how much.
type progress struct {
	call  *modules.Call
	phase string
	usual time.Duration // how long it takes as a rule; 0: nobody knows
	since time.Time
	most  map[string]int // of each count
}

// enters begins another phase of the same counts.
func (p *progress) enters(phase string, usual time.Duration) {
	p.phase, p.usual, p.since = phase, usual, time.Now()
}

// left tells what is left.
func (p *progress) left(detail string, counts ...modules.Count) {
	if p.since.IsZero() {
		p.since = time.Now()
	}
	if p.most == nil {
		p.most = map[string]int{}
	}
	for i := range counts {
		c := &counts[i]
		p.most[c.Name] = max(p.most[c.Name], c.Left, c.Of)
		c.Of = p.most[c.Name]
	}
	p.call.Progress(modules.Progress{Phase: p.phase, Counts: counts, Detail: detail, Expects: p.rest()})
}

// rest is how long it takes from now on.
func (p *progress) rest() time.Duration { return max(0, p.usual-time.Since(p.since)) }

// Names of counts, which are the same in all modules: they count down from one to the next.
const (
	countPrimaries   = "primaries"
	countSecondaries = "secondaries"
	countOpen        = "open replicas"
	countUnhealthy   = "unhealthy partitions"
	countDown        = "servers down"
)
