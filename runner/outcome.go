package runner

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pegbook/pegbook/runner/event"
)

// Outcome is how a run ended.
type Outcome struct {
	// Recap is the counts of every host that had a result.
	Recap map[string]event.Counts
	// Failed and Unreachable say whether a host was lost that way and not forgiven.
	Failed, Unreachable bool
	// Refused is a confirmation that was not given; Broken a play that could not begin.
	Refused, Broken bool
	// Interrupted is a run that was told to stop.
	Interrupted bool
	// Paused is a run that stopped at a gate, because of a guard, or because it lost its lock, and can be gone on
	// with.
	Paused bool
	// Message says why the run ended early; empty otherwise.
	Message string
	Took    time.Duration
}

// ExitCode is the exit code of the output contract: 0, 1, 2, 4, 5 or 130.
func (o Outcome) ExitCode() int {
	switch {
	case o.Interrupted:
		return 130
	case o.Refused || o.Broken:
		return 1
	case o.Paused:
		return 5
	case o.Failed:
		return 2
	case o.Unreachable:
		return 4
	}
	return 0
}

// outcome is how the run stands.
func (r *run) outcome() Outcome {
	o := Outcome{Recap: map[string]event.Counts{}, Refused: r.refused, Broken: r.failed, Message: r.reason}
	if h := r.halted; h != nil {
		o.Paused, o.Failed, o.Message = h.paused, h.failed, firstOf(r.reason, h.message)
	}
	for _, h := range r.known() {
		if h.seen {
			o.Recap[h.Name] = h.counts
		}
		o.Failed = o.Failed || h.lost == lostFailed
		o.Unreachable = o.Unreachable || h.lost == lostUnreachable
	}
	return o
}

// whereabouts says where an interrupted run left its hosts.
func (r *run) whereabouts() string {
	at := map[string][]string{}
	for p, rr := range r.inside {
		if p.lost == notLost && !p.ended {
			where := rr.stoodAt(p)
			if guarded(rr.row.in) {
				where += " inside a block whose rescue or always has not run"
			}
			at[where] = append(at[where], p.Name)
		}
	}
	var parts []string
	for where, names := range at {
		slices.Sort(names)
		parts = append(parts, strings.Join(names, ", ")+" "+where)
	}
	slices.Sort(parts)
	if len(parts) == 0 {
		return ""
	}
	return ": stopped on " + strings.Join(parts, "; ")
}

// goOn names the command that continues a run of which a record is kept.
func (r *run) goOn(interrupted bool) string {
	switch {
	case r.opts.Resume == "" || r.opts.Check:
		return ""
	case errors.Is(r.notKept(), ErrRecordGone):
		return "; it cannot be gone on with: begin it again, which finds what is done"
	case r.cutOff.Load() > 0:
		return fmt.Sprintf("; to go on: %s --in-flight WHAT (rerun, skip or fail: of %d that were cut off nobody can tell whether they came to their end; pegbook runs show lists them)", r.opts.Resume, r.cutOff.Load()) + r.goBack()
	case interrupted:
		return "; to go on: " + r.opts.Resume + r.goBack()
	}
	return "; to go on when it is mended: " + r.opts.Resume + " (where an argument was wrong: the same command again, with the right one)" + r.goBack()
}

// goBack names the command that puts back what was there before, where there is something to put back.
func (r *run) goBack() string {
	if r.opts.GoBack == "" || !r.kept.Load() {
		return ""
	}
	return "; to put back what was there before: " + r.opts.GoBack
}

func guarded(s *section) bool {
	for ; s != nil; s = s.outer {
		if s.part == body && (s.block.rescue || s.block.always) || s.part == rescue && s.block.always {
			return true
		}
	}
	return false
}

// path names the playbooks of the plan.
func (p *Plan) path() string {
	var paths []string
	for _, b := range p.playbooks {
		paths = append(paths, filepath.ToSlash(b.path))
	}
	return strings.Join(paths, " ")
}

// steps is how many steps the plan has: rows times hosts.
func (p *Plan) steps() int {
	n := 0
	for _, b := range p.playbooks {
		for _, pl := range b.plays {
			n += len(pl.hosts) * countRows(pl.rows)
		}
	}
	return n
}

func countRows(rows strand) int {
	n := 0
	for _, e := range rows {
		for _, side := range e.parallel {
			n += countRows(side)
		}
		if e.row != nil && (e.row.kind == taskRow || e.row.kind == includeRow || e.row.kind == specRow || e.row.kind == gateRow) {
			n++
		}
	}
	return n
}
