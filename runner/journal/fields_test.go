package journal

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// FuzzFields: of what encoding/json writes, the fields are what encoding/json reads; of anything else nothing breaks.
func FuzzFields(f *testing.F) {
	for _, seed := range []string{`{}`, `{"a":1}`, `{"a":"x\"}\\","b":{"c":["]",{"d":null}]},"e":true}`, `{"a"`, `{"a":[}`, `[]`, `{"a":1,}`, `{"\"":-1.5e3,"é":"é\u0007"}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		take := func(name, value []byte) bool { return len(name)+len(value) >= 0 }
		_ = fields(raw, take) // only that it comes to an end
		var want map[string]json.RawMessage
		if json.Unmarshal(raw, &want) != nil || want == nil {
			return
		}
		written, e := json.Marshal(want)
		require.NoError(t, e)
		read := map[string]string{}
		err := fields(written, func(name, value []byte) bool {
			plain, e := text([]byte(`"` + string(name) + `"`))
			require.NoError(t, e)
			read[plain] = string(value)
			return true
		})
		require.NoError(t, err)
		require.Len(t, read, len(want))
		for name, value := range want {
			compact, e := json.Marshal(value)
			require.NoError(t, e)
			assert.Equal(t, string(compact), read[name])
		}
	})
}

// TestWhatHostsPrintIsReadInTimeThatIsInProportion reads what a command has printed that is nothing but escapes.
func TestWhatHostsPrintIsReadInTimeThatIsInProportion(t *testing.T) {
	for what, printed := range map[string]string{"zeros": "\x00", "quotes": `"`, "backslashes": `\`} {
		raw, err := json.Marshal(map[string]string{"out": strings.Repeat(printed, 1<<20)})
		require.NoError(t, err)
		began := time.Now()
		n := 0
		require.NoError(t, fields(raw, func(_, value []byte) bool { n += len(value); return true }))
		require.Equal(t, len(raw)-len(`{"out":}`), n, what)
		require.Less(t, time.Since(began), 2*time.Second, what)
	}
}
