package journal

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/runner"
	"github.com/pegbook/pegbook/runner/event"
)

var (
	_ runner.Recorder = (*Writer)(nil)
	_ event.Sink      = (*Writer)(nil)
)

func home(t *testing.T) *Home {
	t.Helper()
	h, err := OpenHome(filepath.Join(t.TempDir(), "home"))
	require.NoError(t, err)
	return h
}

func create(t *testing.T, h *Home, run string) *Writer {
	t.Helper()
	w, err := h.Create(Meta{Run: run, Sessions: []Session{{Started: time.Unix(0, 0).UTC()}}}, Private{Argv: []string{"pegbook", "run", "-e", "p=s3cret"}})
	require.NoError(t, err)
	return w
}

func TestAnEntryIsWrittenWhenKeepReturns(t *testing.T) {
	for _, durable := range []bool{false, true} {
		w := create(t, home(t), "r1")
		require.NoError(t, w.Keep(runner.Entry{Kind: runner.EntryActing, Place: "0", Host: "h", Durable: durable}))
		raw, err := os.ReadFile(filepath.Join(w.Dir(), stepsFile))
		require.NoError(t, err)
		assert.Contains(t, string(raw), `"k":"acting"`)
		require.NoError(t, w.Close())
	}
}

func TestWhatIsPrivateIsNotReadableInTheFolder(t *testing.T) {
	w := create(t, home(t), "r1")
	require.NoError(t, w.Keep(runner.Entry{Kind: runner.EntryDone, Task: "set s3cret", State: json.RawMessage(`{"password":"s3cret"}`)}))
	require.NoError(t, w.Close())
	files, err := filepath.Glob(filepath.Join(w.Dir(), "*"))
	require.NoError(t, err)
	assert.NotEmpty(t, files)
	for _, f := range files {
		raw, err := os.ReadFile(f)
		require.NoError(t, err)
		assert.NotContains(t, string(raw), "s3cret", f)
	}
}
