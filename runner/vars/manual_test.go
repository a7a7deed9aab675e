package vars

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestManual keeps the list of functions in the manual equal to Functions.
func TestManual(t *testing.T) {
	const path, mark = "../../docs/expressions.md", "-update -->\n"
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	head, list, ok := strings.Cut(string(raw), mark)
	require.True(t, ok, "the manual has lost its mark")
	want := functionList()
	if flag.Lookup("update").Value.String() == "true" {
		require.NoError(t, os.WriteFile(path, []byte(head+mark+want), 0o644))
		return
	}
	assert.Equal(t, want, list, "run: go test ./runner/vars -run TestManual -update")
}

var _ = flag.Bool("update", false, "write the list of functions into the manual")

func functionList() string {
	escape := strings.NewReplacer("|", `\|`)
	var b strings.Builder
	b.WriteString("\n| function | gives |\n| --- | --- |\n")
	for _, f := range Functions() {
		fmt.Fprintf(&b, "| `%s` | %s |\n", escape.Replace(f.Usage), escape.Replace(f.Doc))
	}
	return b.String()
}
