package runner

import (
	"slices"
	"sync"
	"time"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/event"
)

// told is the progress that a step has told of last.
type told struct {
	mu   sync.Mutex // guards what follows
	last modules.Progress
	at   time.Time
}

// tellAgain is how often progress is told that is the same as before.
const tellAgain = 10 * time.Second

// isNews says whether a progress is worth an event.
func (t *told) isNews(p modules.Progress, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p.Phase == t.last.Phase && slices.Equal(p.Counts, t.last.Counts) && now.Sub(t.at) < tellAgain {
		return false
	}
	t.last, t.at = p, now
	return true
}

// report tells how far a module has come.
func (st *step) report(x *prepared, p modules.Progress) {
	now := time.Now()
	if !st.told.isNews(p, now) {
		return
	}
	noted := event.Noted{Text: hidden}
	if !x.noLog {
		noted.Text, noted.Phase, noted.Counts, noted.Detail = p.String(), p.Phase, slices.Clone(p.Counts), p.Detail
		noted.ElapsedMS, noted.ExpectsMS = milliseconds(now.Sub(st.began)), milliseconds(p.Expects)
	}
	st.note(noted)
}
