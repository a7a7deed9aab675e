package vars

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestExactGivesTheSameValueAgain(t *testing.T) {
	tests := []struct {
		name string
		data Data
	}{
		{"null", Of(nil)},
		{"boolean", Of(true)},
		{"whole number", Of(int64(math.MaxInt64))},
		{"whole float stays a float", Of(2.0)},
		{"float", Of(0.1)},
		{"tiny float", Of(5e-324)},
		{"large float", Of(1e300)},
		{"no number", Of(math.NaN())},
		{"infinite", Of(math.Inf(-1))},
		{"text", Of("a \"b\" \u2028 <&> \x00 é")},
		{"bytes", Of("\xff\xfe")},
		{"list", Of([]any{1, "1", 1.0, nil, []any{}})},
		{"empty mapping", Of(map[string]any{})},
		{"mapping", Of(map[string]any{"a": map[string]any{"b": "\xff"}})},
		{"mapping with the mark's key", Of(map[string]any{exactKey: map[string]any{"kind": "omit"}, "x": math.Inf(1)})},
		{"unknown", Unknown(nil)},
		{"unknown with fields", Unknown(map[string]Data{"changed": Of(true), "deep": Unknown(nil)})},
		{"unknown list", UnknownList(Of(map[string]any{"a": 1}))},
		{"omit", Omit()},
		{"omit in a list", Of([]Data{Omit()})},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := FromExact(tt.data.Exact())
			require.NoError(t, err)
			assert.Equal(t, tt.data.Kind(), got.Kind())
			assert.Equal(t, string(tt.data.Exact()), string(got.Exact()))
			if tt.name != "no number" {
				if u, ok := tt.data.v.(*unknown); ok && u.fields == nil {
					return // nil and empty fields mean the same
				}
				assert.Equal(t, len(tt.data.Keys()), len(got.Keys()))
			}
		})
	}
}

func TestFromExactRefusesWhatExactDoesNotWrite(t *testing.T) {
	for _, raw := range []string{`{"$pegbook":1}`, `{"$pegbook":{"kind":"x"}}`, `{`, `1 2`, `[{"$pegbook":{"kind":"bytes","value":"!"}}]`} {
		_, err := FromExact([]byte(raw))
		assert.Error(t, err, raw)
	}
}
