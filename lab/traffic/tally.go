package traffic

import (
	"fmt"
	"math"
	"strings"
	"sync"
	"time"
)

// Summary is what a load saw.
type Summary struct {
	TookMS     int64 `json:"took_ms"`
	Operations int   `json:"operations"`
	Reads      int   `json:"reads"`
	Writes     int   `json:"writes"`
	// Failures are operations that did not succeed within their time; FailedReads and FailedWrites tell
	// them apart.
	Failures     int `json:"failures"`
	FailedReads  int `json:"failed_reads"`
	FailedWrites int `json:"failed_writes"`
	// LostWrites are acknowledged writes that a later read did not give back.
	LostWrites int `json:"lost_writes"`
	// LongestStallMS is the longest that one operation took, failed ones and those under way included.
	LongestStallMS float64 `json:"longest_stall_ms"`
	// P50MS and so on are of the operations that have ended; they are off by 2.5 % at most.
	P50MS float64 `json:"p50_ms"`
	P95MS float64 `json:"p95_ms"`
	P99MS float64 `json:"p99_ms"`
	// Problems are the first failures and losses, with the time at which the operation began.
	Problems []Problem `json:"problems,omitempty"`
}

// Problem is an operation that failed, or found a write lost.
type Problem struct {
	At   time.Time `json:"at"`
	What string    `json:"what"`
}

// String is the summary in a few lines for people.
func (s Summary) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d operations in %.1f s (%d reads, %d writes): %d failed, %d acknowledged writes lost\n",
		s.Operations, float64(s.TookMS)/1000, s.Reads, s.Writes, s.Failures, s.LostWrites)
	fmt.Fprintf(&b, "longest stall %.0f ms; half of them within %.1f ms, 95 %% within %.1f ms, 99 %% within %.1f ms",
		s.LongestStallMS, s.P50MS, s.P95MS, s.P99MS)
	for _, p := range s.Problems {
		fmt.Fprintf(&b, "\n%s %s", p.At.Format("15:04:05.000"), p.What)
	}
	return b.String()
}

// maxProblems bounds what a summary lists.
const maxProblems = 10

// kind is a kind of operation.
type kind string

const (
	read    kind = "read"
	written kind = "write"
)

// outcome is how one operation ended.
type outcome struct {
	kind kind
	at   time.Time
	took time.Duration
	err  error
	lost string
}

// tally adds up outcomes.
type tally struct {
	mu      sync.Mutex // guards the rest
	began   time.Time
	sum     Summary
	longest time.Duration
	buckets [bucketCount]int
}

func newTally() tally { return tally{began: time.Now()} }

func (t *tally) add(o outcome) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sum.Operations++
	all, failed := &t.sum.Reads, &t.sum.FailedReads
	if o.kind == written {
		all, failed = &t.sum.Writes, &t.sum.FailedWrites
	}
	*all++
	t.longest = max(t.longest, o.took)
	t.buckets[bucketOf(o.took)]++
	what := ""
	switch {
	case o.err != nil:
		*failed++
		t.sum.Failures++
		what = fmt.Sprintf("%s failed after %s: %v", o.kind, o.took.Round(time.Millisecond), o.err)
	case o.lost != "":
		t.sum.LostWrites++
		what = o.lost
	}
	if what != "" && len(t.sum.Problems) < maxProblems {
		t.sum.Problems = append(t.sum.Problems, Problem{At: o.at, What: what})
	}
}

// summary is the sum so far; underway is how long the slowest operation has been under way.
func (t *tally) summary(underway time.Duration) Summary {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.sum
	s.Problems = append([]Problem(nil), t.sum.Problems...)
	s.TookMS = time.Since(t.began).Milliseconds()
	s.LongestStallMS = milliseconds(max(t.longest, underway))
	s.P50MS, s.P95MS, s.P99MS = t.percentile(0.50), t.percentile(0.95), t.percentile(0.99)
	return s
}

// Latencies are counted in buckets of which each is 5 % wider than the one before, from 1 µs on; the last
// one reaches beyond a minute.
const (
	bucketWidth = 1.05
	bucketCount = 400
)

func bucketOf(d time.Duration) int {
	us := float64(d) / float64(time.Microsecond)
	if us < 1 {
		return 0
	}
	return min(int(math.Log(us)/math.Log(bucketWidth)), bucketCount-1)
}

func (t *tally) percentile(p float64) float64 {
	rank, seen := int(math.Ceil(p*float64(t.sum.Operations))), 0
	for i, n := range t.buckets {
		if seen += n; seen >= rank && seen > 0 {
			middle := math.Pow(bucketWidth, float64(i)+0.5)
			return min(math.Round(middle)/1000, milliseconds(t.longest))
		}
	}
	return 0
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
