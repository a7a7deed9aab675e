package plugins

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A folder of temporary files that is almost too long for a socket is passed over before a plugin fails in it, which
// would depend on how long the numbers are that chance gives.
func TestSocketsHaveRoomWhateverTheirNumbers(t *testing.T) {
	for _, length := range []int{longestTemp, longestTemp + 1, 60} {
		temp := filepath.Join(os.TempDir(), "room-"+strings.Repeat("x", length))[:length]
		require.NoError(t, os.MkdirAll(temp, 0o700))
		t.Cleanup(func() { _ = os.RemoveAll(temp) })
		t.Setenv("TMPDIR", temp)
		folder, err := socketFolder()
		require.NoError(t, err)
		t.Cleanup(func() { _ = os.RemoveAll(folder) })
		base, _, _ := strings.Cut(folder, "/"+socketPrefix)
		require.LessOrEqual(t, len(base)+longestName, longestSocket)
		require.Equal(t, length <= longestTemp, base == temp)
		require.Equal(t, 107, len("/"+strings.Repeat("t", longestTemp-1)+"/pegbook-plugin-4194304-4294967295/plugin-dir4294967295/plugin4294967295"))
	}
}
