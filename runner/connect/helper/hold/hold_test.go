package hold

import (
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Whoever may write the file must not be able to shut out all who come later, whose tokens hosts would refuse.
func TestACountThatCannotBeIsNoCount(t *testing.T) {
	for name, count := range map[string]uint64{"the last but one": math.MaxUint64 - 1, "the last": math.MaxUint64, "a thousand years": uint64(time.Now().AddDate(1000, 0, 0).UnixMicro())} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "lock")
			require.NoError(t, os.WriteFile(path, []byte(strconv.FormatUint(count, 10)+" \n"), 0o600))
			h, err := Try(path, "")
			require.NoError(t, err)
			assert.InDelta(t, float64(time.Now().UnixMicro()), float64(h.Token), 60e6)
			require.NoError(t, h.Release())
		})
	}
}

func TestACountAheadOfTheClockGoesOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	ahead := uint64(time.Now().AddDate(1, 0, 0).UnixMicro())
	require.NoError(t, os.WriteFile(path, []byte(strconv.FormatUint(ahead, 10)+" \n"), 0o600))
	h, err := Try(path, "")
	require.NoError(t, err)
	assert.Equal(t, ahead+1, h.Token)
	require.NoError(t, h.Release())
}

// FuzzFile takes a lock whose file holds anything: it is taken, says who has it, and its tokens grow.
func FuzzFile(f *testing.F) {
	f.Add([]byte("1767225600000000 {\"user\":\"alice\"}\n"), "bob")
	f.Add([]byte("18446744073709551615 x\n"), "")
	f.Add([]byte(strings.Repeat("9", 100)), "a b")
	f.Add([]byte{0, 0xff, '\n'}, "\xff")
	path := filepath.Join(f.TempDir(), "lock")
	f.Fuzz(func(t *testing.T, content []byte, note string) {
		require.NoError(t, os.WriteFile(path, content, 0o600))
		first, err := Try(path, note)
		if strings.ContainsAny(note, "\n\x00") || len(note) > MaxNote {
			require.Error(t, err)
			return
		}
		require.NoError(t, err)
		said, held, err := Ask(path)
		require.NoError(t, err)
		require.True(t, held)
		require.Equal(t, note, said)
		require.NoError(t, first.Check())
		require.NoError(t, first.Release())
		second, err := Try(path, note)
		require.NoError(t, err)
		require.Greater(t, second.Token, first.Token)
		require.NoError(t, second.Release())
	})
}
