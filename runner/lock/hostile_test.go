package lock

import (
	"encoding/json"
	"fmt"
	"math"
	"testing"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestNextToken(t *testing.T) {
	const clock = 1_767_225_600_000 // 2026
	for _, tt := range []struct {
		name, before string
		want         uint64
	}{
		{"nothing was counted", ``, clock},
		{"no record", `{"token":"x"}`, clock},
		{"below zero", `{"token":-1}`, clock},
		{"behind the clock", `{"token":7}`, clock},
		{"ahead of the clock", fmt.Sprintf(`{"token":%d}`, clock+5), clock + 6},
		{"the last number there is", fmt.Sprintf(`{"token":%d}`, uint64(math.MaxUint64)), clock},
		{"the last but one", fmt.Sprintf(`{"token":%d}`, uint64(math.MaxUint64-1)), clock},
	} {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, tt.want, nextToken([]byte(tt.before), clock))
		})
	}
}

// FuzzNodes reads what anybody may write below a lock in ZooKeeper: names, what a holder says of itself, what is
// counted.
func FuzzNodes(f *testing.F) {
	f.Add("lock-00ff-0000000007", who("alice").Note(), int64(1_767_225_600_000))
	f.Add("lock-2147483648", `{"token":18446744073709551615,"holder":{}}`, int64(-1))
	f.Add("lock--2147483648", `{"user":"\u001b[2J","host":"\u202e","pid":-1,"since":"0000-01-01T00:00:00Z"}`, int64(0))
	f.Fuzz(func(t *testing.T, name, content string, clock int64) {
		require.GreaterOrEqual(t, turn(name), -1)
		token := nextToken([]byte(content), clock)
		require.NotZero(t, token)
		text, err := json.Marshal(record{Token: token})
		require.NoError(t, err)
		require.Greater(t, nextToken(text, clock), token)

		h := ParseHolder(content)
		shown := h.String()
		require.Less(t, len(shown), 1000)
		for _, r := range shown {
			require.True(t, unicode.IsPrint(r), "%q is shown", shown)
		}
		require.Equal(t, shown, ParseHolder(h.Note()).String())
	})
}
