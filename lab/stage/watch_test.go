package stage

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

// TestCopiesAreCountedByWhatIsSure has three servers asked every 200 ms, each with its answers: a 1 serves, a 0 does
// not, a letter is an answer that comes so many times 100 ms late (a: 100 ms) and says 1.
func TestCopiesAreCountedByWhatIsSure(t *testing.T) {
	pid := wire.GPID{App: 1, Index: 3}
	for what, c := range map[string]struct {
		servers []string
		least   int
		long    time.Duration
	}{
		"all serve":                                {[]string{"11111111", "11111111", "11111111"}, 3, 0},
		"one is restarted":                         {[]string{"11100011", "11111111", "11111111"}, 2, 400 * time.Millisecond},
		"a single answer lacks it":                 {[]string{"11101111", "11111111", "11111111"}, 3, 0},
		"two are away at once":                     {[]string{"11100011", "11100011", "11111111"}, 1, 400 * time.Millisecond},
		"two are away, and overlap":                {[]string{"11000011", "11110000", "11111111"}, 1, 200 * time.Millisecond},
		"all are away":                             {[]string{"11000111", "11000111", "11000111"}, 0, 400 * time.Millisecond},
		"one goes when the other is back":          {[]string{"10001111", "11110001", "11111111"}, 2, 400 * time.Millisecond},
		"who is back says so late, another is off": {[]string{"1000f111", "11110001", "11111111"}, 2, 400 * time.Millisecond},
		"it is there from the start of no answer":  {[]string{"00001111", "11111111", "11111111"}, 2, 600 * time.Millisecond},
	} {
		w := &Watcher{partitions: []wire.GPID{pid}, stop: func() {}}
		begun := time.Unix(1_700_000_000, 0)
		for _, answers := range c.servers {
			s := &server{absences: map[wire.GPID][]absence{}}
			for i, answer := range answers {
				asked := begun.Add(time.Duration(i) * lookEvery)
				answered := asked
				if answer >= 'a' {
					answered = asked.Add(time.Duration(answer-'a'+1) * 100 * time.Millisecond)
				}
				s.take(asked, answered, w.partitions, map[wire.GPID]bool{pid: answer != '0'})
			}
			w.servers = append(w.servers, s)
		}
		copies, _, long := w.least(pid)
		require.Equal(t, c.least, copies, what)
		require.Equal(t, c.long, long, what)
	}
}
