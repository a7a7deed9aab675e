package builtin

import (
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// What setup sets by a name of its own is on the list of its facts.
func TestFactNamesAreComplete(t *testing.T) {
	for _, file := range []string{"setup.go", "setupmore.go"} {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, m := range regexp.MustCompile(`set\(f, "([a-z_]+[a-z])"[,)]`).FindAllStringSubmatch(string(text), -1) {
			require.True(t, slices.Contains(factNames(), "ansible_"+m[1]), "factNames lacks %s", m[1])
		}
	}
}
