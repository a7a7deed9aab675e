package builtin

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// maxStarts is how many starts of a daemon are remembered.
const maxStarts = 32

// readStarts reads when a daemon was started, a line each; what is no time is left out, as it says nothing.
func readStarts(text string) []time.Time {
	var starts []time.Time
	for line := range strings.Lines(text) {
		if at, err := time.Parse(time.RFC3339, strings.TrimSpace(line)); err == nil {
			starts = append(starts, at)
		}
	}
	slices.SortFunc(starts, time.Time.Compare)
	return starts
}

// keptStarts is the file of the newest ones.
func keptStarts(starts []time.Time) []byte {
	var b strings.Builder
	for _, at := range starts[max(0, len(starts)-maxStarts):] {
		b.WriteString(at.UTC().Format(time.RFC3339) + "\n")
	}
	return []byte(b.String())
}

// quickRestarts counts back from now: how many restarts have each followed the start before within quick, the
// one that would be made now among them, and when that would not be a quick one any more.
func quickRestarts(starts []time.Time, quick time.Duration, now time.Time) (n int, until time.Time) {
	next := now
	for _, at := range slices.Backward(starts) {
		if at.After(now) {
			continue // a clock was set back
		}
		if next.Sub(at) >= quick {
			break
		}
		if n++; n == 1 {
			until = at.Add(quick)
		}
		next = at
	}
	return n, until
}

// QuickRestartError is a restart that comes too soon after too many others.
type QuickRestartError struct {
	Name     string
	Restarts int
	Quick    time.Duration
	Until    time.Time
}

// Error says how often, and from when on it may be restarted.
func (e *QuickRestartError) Error() string {
	return fmt.Sprintf("%s would be restarted for the %d. time in a row within %s of the start before, which max_quick_restarts forbids; wait until %s",
		e.Name, e.Restarts, e.Quick, e.Until.UTC().Format(time.RFC3339))
}

// tooQuick refuses a restart of what runs. What does not run is started: it serves nothing as it is.
func (d *daemon) tooQuick(s sight, next steps, now time.Time) error {
	if d.MaxQuick == 0 || !next.stop || !next.start {
		return nil
	}
	if n, until := quickRestarts(s.starts, d.Quick, now); n > d.MaxQuick {
		return &QuickRestartError{Name: d.Name, Restarts: n, Quick: d.Quick, Until: until}
	}
	return nil
}
