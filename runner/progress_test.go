package runner

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/pegbook/pegbook/modules"
)

// TestProgressIsToldWhenItIsNews: what a module tells once a second does not flood the records.
func TestProgressIsToldWhenItIsNews(t *testing.T) {
	at := func(left int, phase string) modules.Progress {
		return modules.Progress{Phase: phase, Counts: []modules.Count{{Name: "primaries", Left: left, Of: 9}}}
	}
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var last told
	for _, tt := range []struct {
		name  string
		after time.Duration
		p     modules.Progress
		news  bool
	}{
		{"the first", 0, at(9, "a"), true},
		{"the same", time.Second, at(9, "a"), false},
		{"fewer left", 2 * time.Second, at(8, "a"), true},
		{"the same again", 11 * time.Second, at(8, "a"), false},
		{"the same for ten seconds", 12 * time.Second, at(8, "a"), true},
		{"another phase", 13 * time.Second, at(8, "b"), true},
	} {
		assert.Equal(t, tt.news, last.isNews(tt.p, began.Add(tt.after)), tt.name)
	}
}
