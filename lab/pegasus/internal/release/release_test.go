package release

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestUpgradePaths(t *testing.T) {
	for _, c := range []struct {
		from     string
		to       Release
		graceful bool
		ok       bool
	}{
		{"", R26, false, true}, {"2.4.0", R25, false, true}, {"2.1.0", R25, false, true}, {"2.5.0", R24, false, true},
		{"2.0.0", R25, false, false}, {"2.0.0", R25, true, true}, {"1.12.3", R21, true, false}, {"2.4.0", R26, true, false},
		{"2.5.0", R26, true, true}, {"2.6.0-SNAPSHOT", R26, true, true}, {"2.6.0", R25, true, false},
	} {
		require.Equal(t, c.ok, Upgradable(c.from, c.to, c.graceful) == "", "%+v", c)
	}
}

func TestParse(t *testing.T) {
	require.Equal(t, R26, Parse("2.6.0-SNAPSHOT"))
	require.Equal(t, Release(112), Parse("1.12.3"))
	require.Equal(t, R25, Parse("whatever"))
}
