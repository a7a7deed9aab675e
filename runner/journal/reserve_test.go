package journal

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestRunsThatBeginInTheSameMoment get names of their own.
func TestRunsThatBeginInTheSameMoment(t *testing.T) {
	h := home(t)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			w, err := h.Create(Meta{Run: "r"}, Private{})
			if assert.NoError(t, err) {
				assert.NoError(t, w.Close())
			}
		})
	}
	group.Wait()
	names, err := h.Names()
	require.NoError(t, err)
	assert.Len(t, names, 8)
}
