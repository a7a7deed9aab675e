package journal

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/runner"
)

func TestWhatIsInFlightIsToldByHowStepsAndItemsHaveEnded(t *testing.T) {
	const begins, ends, forgotten = runner.EntryActing, runner.EntryDone, runner.EntryForgotten
	type entry struct {
		kind runner.EntryKind
		item int
	}
	for name, c := range map[string]struct {
		entries  []entry
		inFlight bool
	}{
		"a step that has begun": {[]entry{{begins, 0}}, true},
		"a step that has ended": {[]entry{{begins, 0}, {ends, 0}}, false},
		"an item of two":        {[]entry{{begins, 1}, {ends, 1}, {begins, 2}}, true},
		"a loop with its last item, whose end is that of all": {[]entry{{begins, 1}, {ends, 1}, {begins, 2}, {ends, 0}}, false},
		"a loop that was forgotten with its items":            {[]entry{{begins, 1}, {forgotten, 0}}, false},
		"another item than the one that has ended":            {[]entry{{begins, 1}, {begins, 2}, {ends, 1}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			h := home(t)
			w := create(t, h, "r1")
			for _, e := range c.entries {
				require.NoError(t, w.Keep(runner.Entry{Kind: e.kind, Place: "0.1", Host: "h1", Item: e.item, Task: "folders", State: json.RawMessage(`{}`)}))
			}
			require.NoError(t, w.Close())
			r, err := h.Open("r1")
			require.NoError(t, err)
			s, err := r.Standing()
			require.NoError(t, err)
			var want []InFlight
			if c.inFlight {
				want = []InFlight{{Host: "h1", Task: "folders", Acting: true}}
			}
			assert.Equal(t, want, s.InFlight)
		})
	}
}
