package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReferencePagesAreFresh(t *testing.T) {
	a := &app{}
	pages := referencePages(newRootCmd(a))
	for name, want := range pages {
		have, err := os.ReadFile(filepath.Join("..", "..", "docs", "reference", name))
		if err != nil || string(have) != want {
			t.Errorf("docs/reference/%s is not what the program says now; run: make docs (%v)", name, err)
		}
	}
	entries, err := os.ReadDir(filepath.Join("..", "..", "docs", "reference"))
	require.NoError(t, err)
	require.Len(t, entries, len(pages), "a page in docs/reference that nobody makes")
}
