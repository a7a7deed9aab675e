package event

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestOutputIsDocumented: every event has its row in the page about the output, and every field its name in the row.
func TestOutputIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/output.md")
	require.NoError(t, err)
	for _, e := range Every() {
		_, row, found := strings.Cut(string(page), "\n| `"+e.Kind()+"` |")
		require.True(t, found, "%s is not documented", e.Kind())
		row, _, _ = strings.Cut(row, "\n")
		for _, name := range jsonNames(reflect.TypeOf(e)) {
			assert.Contains(t, row, "`"+name+"`", "field of %s", e.Kind())
		}
	}
}

// jsonNames are the names of a struct's fields in JSON.
func jsonNames(t reflect.Type) []string {
	var names []string
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			names = append(names, jsonNames(f.Type)...)
		case name != "-" && f.IsExported():
			names = append(names, name)
		}
	}
	return names
}
