package render

import (
	"fmt"

	"github.com/pegbook/pegbook/runner/event"
)

// lockLine says what became of a lock, for people; "" where there is nothing that they need to know.
func lockLine(p paint, e event.Lock, verbosity int) string {
	by := Clean(e.Holder, false)
	if e.Waiting > 0 {
		by += fmt.Sprintf("; %s for it, too", HowMany(e.Waiting, "run")+" waiting")
	}
	what := "lock " + Clean(e.Lock, false)
	reason := Clean(e.Reason, false)
	switch e.State {
	case event.LockAwaited:
		return p.in(blue, "waiting for "+what) + ", held by " + by
	case event.LockLost:
		return p.in(red, "lost: "+reason)
	case event.LockOfOther:
		return p.in(red, what+" is held by "+by) + ": a run would be refused now"
	case event.LockUnknown:
		return p.in(red, what+": it is not known whether it is held: "+reason)
	case event.LockTaken:
		if verbosity > 0 {
			return fmt.Sprintf("%s is taken, token %d", what, e.Token)
		}
	case event.LockReleased:
		switch {
		case reason != "":
			return p.in(red, what+" was not given back in good order: "+reason)
		case verbosity > 0:
			return what + " is given back"
		}
	case event.LockFree:
		if verbosity > 0 {
			return what + " is free; check mode does not take it"
		}
	}
	return ""
}
