package journal

import (
	"encoding/json"
	"testing"

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
