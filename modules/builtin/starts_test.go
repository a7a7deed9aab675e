package builtin

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestQuickRestarts counts as a Pegasus meta server does: a restart is a quick one when the run before it was short,
// however long ago the first one was.
func TestQuickRestarts(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	ago := func(minutes ...int) []time.Time {
		var starts []time.Time
		for _, m := range minutes {
			starts = append(starts, now.Add(-time.Duration(m)*time.Minute))
		}
		return starts
	}
	for name, c := range map[string]struct {
		starts []time.Time
		want   int
	}{
		"never started":                            {nil, 0},
		"a long run":                               {ago(10), 0},
		"a short run":                              {ago(9), 1},
		"four short runs":                          {ago(8, 6, 4, 2), 4},
		"five in a row, nine minutes apart":        {ago(45, 36, 27, 18, 9), 5},
		"a long run between forgives":              {ago(50, 45, 40, 5, 2), 2},
		"a start in the future is a clock's fault": {ago(8, -60), 1},
	} {
		n, until := quickRestarts(c.starts, 10*time.Minute, now)
		assert.Equal(t, c.want, n, name)
		if n > 0 {
			assert.True(t, until.After(now), name)
		}
	}
}

func TestStartsAreKept(t *testing.T) {
	at := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	var all []time.Time
	for i := range 40 {
		all = append(all, at.Add(time.Duration(i)*time.Minute))
	}
	kept := readStarts(string(keptStarts(all)) + "garbage\n")
	require.Len(t, kept, maxStarts)
	assert.Equal(t, all[8:], kept)
}

// TestTooManyQuickRestartsAreRefused before anything is stopped; what does not run is started all the same.
func TestTooManyQuickRestartsAreRefused(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	d := &daemon{daemonArgs: daemonArgs{Name: "pegasus-replica", MaxQuick: 4, Quick: 10 * time.Minute}}
	var s sight
	for i := range 5 {
		require.NoError(t, d.tooQuick(s, steps{stop: true, start: true}, now), "restart %d", i)
		s.starts = append(s.starts, now.Add(-time.Duration(5-i)*time.Minute))
	}
	err := d.tooQuick(s, steps{stop: true, start: true}, now)
	var quick *QuickRestartError
	require.ErrorAs(t, err, &quick)
	assert.Equal(t, 5, quick.Restarts)
	assert.ErrorContains(t, err, "2026-05-01T12:09:00Z")
	assert.NoError(t, d.tooQuick(s, steps{start: true}, now))
	assert.NoError(t, d.tooQuick(s, steps{stop: true}, now))
}
