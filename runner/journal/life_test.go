package journal

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner"
	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/event"
)

// TestMain is the process that is killed, when a test starts the test's program with a home.
func TestMain(m *testing.M) {
	if dir := os.Getenv("JOURNAL_TEST_KEEPS_IN"); dir != "" {
		keepForEver(dir)
	}
	os.Exit(m.Run())
}

// keepForEver keeps entries as fast as it can and says of each that it is kept.
func keepForEver(dir string) {
	h, err := OpenHome(dir)
	if err != nil {
		panic(err)
	}
	w, err := h.Create(Meta{Run: "r1", Sessions: []Session{{Started: time.Now()}}}, Private{})
	if err != nil {
		panic(err)
	}
	w.Record(event.Record{Seq: 1, Time: time.Now(), Event: event.RunStarted{Run: "r1"}})
	for n := 0; ; n++ {
		if err := w.Keep(runner.Entry{Kind: runner.EntryDone, Place: fmt.Sprint(n), State: json.RawMessage(`{}`)}); err != nil {
			panic(err)
		}
		fmt.Println(n)
	}
}

func TestAKilledRunIsCrashedAtOnceAndHasLostNothingThatWasKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "home")
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "JOURNAL_TEST_KEEPS_IN="+dir)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(out)
	for n := 0; n < 50; n++ {
		require.True(t, lines.Scan())
	}
	h, err := OpenHome(dir)
	require.NoError(t, err)
	r, err := h.Open("r1")
	require.NoError(t, err)
	assert.Equal(t, Running, r.State)
	var running *RunningError
	assert.ErrorAs(t, h.Remove("r1"), &running)
	_, _, err = h.Resume("r1", Session{})
	assert.ErrorAs(t, err, &running)
	require.NoError(t, h.Prune(Keep{Age: time.Nanosecond}, Keep{Age: time.Nanosecond}, time.Now().Add(time.Hour)))

	require.NoError(t, cmd.Process.Signal(syscall.SIGKILL))
	kept := 50
	for lines.Scan() {
		kept++
	}
	require.Error(t, cmd.Wait())
	r, err = h.Open("r1")
	require.NoError(t, err)
	assert.Equal(t, Crashed, r.State)
	assert.True(t, r.Resumable())
	n := 0
	found, err := r.Entries(func(e runner.Entry) error {
		assert.Equal(t, fmt.Sprint(n), e.Place)
		n++
		return nil
	})
	require.NoError(t, err)
	assert.Equal(t, Reading{blocks: found.blocks}, found)
	assert.GreaterOrEqual(t, n, kept)
	w, torn, err := h.Resume("r1", Session{Started: time.Now()})
	require.NoError(t, err)
	assert.Empty(t, torn)
	assert.True(t, w.Follows(found))
	w.Record(event.Record{Seq: 1, Time: time.Now(), Event: event.RunStarted{Run: "r1", ResumedFrom: "r1"}})
	w.Record(event.Record{Seq: 2, Time: time.Now(), Event: event.RunDone{Recap: map[string]event.Counts{"h": {OK: 1}}}})
	require.NoError(t, w.Close())
	r, err = h.Open("r1")
	require.NoError(t, err)
	assert.Equal(t, Done, r.State)
	assert.Len(t, r.Sessions, 2)
	require.NoError(t, h.Remove("r1"))
	_, err = h.Open("r1")
	var none *NotFoundError
	assert.ErrorAs(t, err, &none)
}

// small is a file system of a few MiB.
func small(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=0700,size="+size); err != nil {
		t.Skip("no file system can be mounted here: ", err)
	}
	t.Cleanup(func() { assert.NoError(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	return dir
}

func TestOnAFullDiskNoActBeginsAndWhatIsInFlightIsKept(t *testing.T) {
	h, err := OpenHome(small(t, "2m"))
	require.NoError(t, err)
	w := create(t, h, "r1")
	state := json.RawMessage(`"` + strings.Repeat("0123456789abcdef", 200) + `"`)
	n := 0
	for full := false; !full; n++ {
		require.Less(t, n, 10000, "the disk does not fill up")
		require.NoError(t, w.Keep(runner.Entry{Kind: runner.EntryActing, Place: fmt.Sprint(n)}))
		require.NoError(t, w.Keep(runner.Entry{Kind: runner.EntryDone, Place: fmt.Sprint(n), State: json.RawMessage(fmt.Sprintf("[%d,%s]", n, strings.Repeat(string(state)+",", 8)+"0"))}))
		select {
		case <-w.Failed():
			full = true
		default:
		}
	}
	err = w.Keep(runner.Entry{Kind: runner.EntryActing, Place: "more"})
	require.ErrorIs(t, err, syscall.ENOSPC)
	assert.Contains(t, err.Error(), "make room")
	require.NoError(t, w.Keep(runner.Entry{Kind: runner.EntryDone, Place: "in flight", State: state}))
	w.Record(event.Record{Seq: 1, Time: time.Now(), Event: event.RunDone{ExitCode: 1}})
	require.ErrorIs(t, w.Close(), syscall.ENOSPC)

	r, err := h.Open("r1")
	require.NoError(t, err)
	assert.Equal(t, Failed, r.State)
	require.NotNil(t, r.Last().End, "how it ended stands where every run has it")
	assert.Equal(t, 1, r.Last().End.ExitCode)
	last := ""
	found, err := r.Entries(func(e runner.Entry) error { last = e.Place; return nil })
	require.NoError(t, err)
	assert.Equal(t, Reading{blocks: found.blocks}, found)
	assert.Equal(t, "in flight", last)

	filler := filepath.Join(h.dir, "filler")
	require.Error(t, os.WriteFile(filler, make([]byte, 4<<20), 0o600))
	_, err = h.Create(Meta{Run: "r2", Sessions: []Session{{}}}, Private{})
	require.ErrorIs(t, err, syscall.ENOSPC)
	names, err := os.ReadDir(filepath.Join(h.dir, runsFolder))
	require.NoError(t, err)
	assert.Len(t, names, 1, "nothing half made stays")
}

// TestADiskThatFillsAfterItHasFailed: that the run must end is told once.
func TestADiskThatFillsAfterItHasFailed(t *testing.T) {
	for _, first := range []func(*Writer){func(w *Writer) { w.fail(syscall.EIO) }, func(w *Writer) { w.fill(syscall.ENOSPC) }} {
		w := create(t, home(t), "r1")
		first(w)
		w.fill(syscall.ENOSPC)
		w.fail(syscall.EIO)
		<-w.Failed()
		require.Error(t, w.Close())
	}
}

// TestWhatTheLastSessionHasWrittenAtItsEndStays when another process goes on with the run in that moment.
func TestWhatTheLastSessionHasWrittenAtItsEndStays(t *testing.T) {
	h := home(t)
	w := create(t, h, "r1")
	over := make(chan struct{})
	go func() {
		defer close(over)
		time.Sleep(20 * time.Millisecond)
		w.Record(event.Record{Seq: 1, Event: event.RunDone{ExitCode: 2}})
		assert.NoError(t, w.Close())
	}()
	var running *RunningError
	next, _, err := h.Resume("r1", Session{})
	for ; errors.As(err, &running); next, _, err = h.Resume("r1", Session{}) {
	}
	require.NoError(t, err)
	<-over
	require.NoError(t, next.Close())
	m, err := readMeta(h.folder("r1"))
	require.NoError(t, err)
	require.Len(t, m.Sessions, 2)
	assert.NotNil(t, m.Sessions[0].End)
}

// full fills the disk of a home but for what runs have reserved.
func full(t *testing.T, h *Home) {
	t.Helper()
	require.ErrorIs(t, os.WriteFile(filepath.Join(h.dir, "filler"), make([]byte, 8<<20), 0o600), syscall.ENOSPC)
}

// entriesOf are the places of a run's entries.
func entriesOf(t *testing.T, h *Home, run string) []string {
	t.Helper()
	r, err := h.Open(run)
	require.NoError(t, err)
	var places []string
	found, err := r.Entries(func(e runner.Entry) error { places = append(places, string(e.Kind)+" "+e.Place); return nil })
	require.NoError(t, err)
	assert.Equal(t, Reading{blocks: found.blocks}, found)
	return places
}

func TestOnAFullDiskLargeResultsDoNotTakeTheRoomOfTheEnd(t *testing.T) {
	for _, tt := range []struct {
		name  string
		taken bool // by others, as soon as it is given back
		kept  []string
	}{
		{"nobody else writes", false, []string{"acting a", "acting b", "acting c", "done b"}},
		{"others fill the room", true, []string{"acting a", "acting b", "acting c"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, err := OpenHome(small(t, "4m"))
			require.NoError(t, err)
			w := create(t, h, "r1")
			for _, place := range []string{"a", "b", "c"} {
				require.NoError(t, w.Keep(runner.Entry{Kind: runner.EntryActing, Place: place, Durable: true}))
			}
			full(t, h)
			noise := make([]byte, 3<<20)
			rand.NewChaCha8([32]byte{}).Read(noise) //nolint:errcheck // it never fails
			large := json.RawMessage(`"` + hex.EncodeToString(noise) + `"`)
			some, few := append(large[:1<<19:1<<19], '"'), append(large[:4000:4000], '"')
			require.NoError(t, w.Keep(runner.Entry{Kind: runner.EntryDone, Place: "a", State: large}), "that it was large is kept")
			<-w.Failed()
			require.ErrorIs(t, w.Err(), syscall.ENOSPC)
			assert.NotContains(t, w.Err().Error(), newMark)
			if tt.taken {
				full(t, h)
				for i := 0; w.Keep(runner.Entry{Kind: runner.EntryDone, Place: "fills"}) == nil; i++ { // the last page of the file
					require.Less(t, i, 1000)
				}
				tt.kept = nil
			}
			err = w.Keep(runner.Entry{Kind: runner.EntryDone, Place: "b", State: few})
			assert.Equal(t, tt.taken, err != nil, "%v", err)
			assert.Error(t, w.Keep(runner.Entry{Kind: runner.EntryActing, Place: "d"}), "no act begins")
			for seq := int64(1); seq < 100; seq++ {
				w.Record(event.Record{Seq: seq, Event: event.TaskDone{Host: "h", Result: some}})
			}
			w.Record(event.Record{Seq: 100, Event: event.RunDone{ExitCode: 130, Message: "no room"}})
			require.ErrorIs(t, w.Close(), syscall.ENOSPC)

			places := entriesOf(t, h, "r1")
			if tt.taken {
				assert.NotContains(t, places, "done b")
				assert.Equal(t, []string{"acting a", "acting b", "acting c"}, places[:3])
			} else {
				assert.Equal(t, tt.kept, places, "how a ended is not known")
			}
			r, err := h.Open("r1")
			require.NoError(t, err)
			assert.Equal(t, Interrupted, r.State)
			require.NotNil(t, r.Last().End)
			assert.Equal(t, "no room", r.Last().End.Message)
			_, _, err = h.Resume("r1", Session{})
			require.ErrorIs(t, err, syscall.ENOSPC)
			assert.Contains(t, err.Error(), "run r1 cannot be gone on with")
			require.NoError(t, os.Remove(filepath.Join(h.dir, "filler")))
			w, _, err = h.Resume("r1", Session{})
			require.NoError(t, err)
			require.NoError(t, w.Keep(runner.Entry{Kind: runner.EntryDone, Place: "a", State: few}))
			require.NoError(t, w.Close())
			assert.Equal(t, append(places, "done a"), entriesOf(t, h, "r1"))
		})
	}
}

func TestADryRunOnAFullDiskSaysHowItEnded(t *testing.T) {
	h, err := OpenHome(small(t, "1m"))
	require.NoError(t, err)
	w, err := h.Create(Meta{Run: "r1", Check: true, Sessions: []Session{{}}}, Private{})
	require.NoError(t, err)
	full(t, h)
	for seq := int64(1); seq < 2000; seq++ {
		noise := make([]byte, 1<<10)
		rand.NewChaCha8([32]byte{byte(seq), byte(seq >> 8)}).Read(noise) //nolint:errcheck // it never fails
		w.Record(event.Record{Seq: seq, Event: event.TaskDone{Host: "h", Msg: hex.EncodeToString(noise)}})
	}
	<-w.Failed()
	w.Record(event.Record{Seq: 2000, Event: event.RunDone{ExitCode: 130, Message: "no room"}})
	require.ErrorIs(t, w.Close(), syscall.ENOSPC)
	r, err := h.Open("r1")
	require.NoError(t, err)
	assert.Equal(t, Interrupted, r.State)
	var last event.Record
	found, err := r.Events(func(rec event.Record) error { last = rec; return nil })
	require.NoError(t, err)
	assert.Empty(t, found.Damage)
	assert.Equal(t, "no room", last.Event.(event.RunDone).Message)
}

func TestARunWhoseFolderIsRemovedKeepsNoActAnyMore(t *testing.T) {
	h := home(t)
	w := create(t, h, "r1")
	require.NoError(t, w.Keep(runner.Entry{Kind: runner.EntryActing, Place: "a"}))
	require.NoError(t, os.RemoveAll(h.folder("r1")))
	require.ErrorIs(t, w.Keep(runner.Entry{Kind: runner.EntryActing, Place: "b"}), runner.ErrRecordGone)
	<-w.Failed()
	require.ErrorIs(t, w.Err(), runner.ErrRecordGone)
	require.ErrorIs(t, w.Close(), runner.ErrRecordGone)
}

func TestTheHomeMustBePrivate(t *testing.T) {
	for _, tt := range []struct {
		name  string
		spoil func(t *testing.T, dir string) error
		says  string
	}{
		{"others may write to the home", func(_ *testing.T, dir string) error { return os.Chmod(dir, 0o777) }, "mode 0777"},
		{"others may look into the runs", func(_ *testing.T, dir string) error { return os.Chmod(filepath.Join(dir, runsFolder), 0o755) }, "mode 0755"},
		{"others may read the key", func(_ *testing.T, dir string) error { return os.Chmod(filepath.Join(dir, keyFile), 0o644) }, "mode 0644"},
		{"the key is a link", func(t *testing.T, dir string) error {
			require.NoError(t, os.Rename(filepath.Join(dir, keyFile), filepath.Join(dir, "elsewhere")))
			return os.Symlink("elsewhere", filepath.Join(dir, keyFile))
		}, "symbolic link"},
		{"the runs are a link", func(t *testing.T, dir string) error {
			require.NoError(t, os.Rename(filepath.Join(dir, runsFolder), filepath.Join(dir, "elsewhere")))
			return os.Symlink("elsewhere", filepath.Join(dir, runsFolder))
		}, "symbolic link"},
		{"the key is a pipe", func(t *testing.T, dir string) error {
			require.NoError(t, os.Remove(filepath.Join(dir, keyFile)))
			return syscall.Mkfifo(filepath.Join(dir, keyFile), 0o600)
		}, "no ordinary file"},
		{"the key is short", func(_ *testing.T, dir string) error {
			return os.WriteFile(filepath.Join(dir, keyFile), []byte("x"), 0o600)
		}, "not 32"},
		{"somebody else's", func(t *testing.T, dir string) error {
			if os.Geteuid() != 0 {
				t.Skip("only root can give files away")
			}
			return os.Chown(dir, 12345, -1)
		}, "belongs to user id 12345"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := home(t)
			require.NoError(t, tt.spoil(t, h.dir))
			_, err := OpenHome(h.dir)
			require.Error(t, err)
			assert.Contains(t, err.Error(), tt.says)
			assert.Contains(t, err.Error(), "PEGBOOK_HOME")
		})
	}
}

func TestARunsFilesMustBePrivate(t *testing.T) {
	for _, name := range []string{metaFile, lockFile, eventsFile, stepsFile} {
		h, _ := kept(t)
		path := filepath.Join(h.folder("r1"), name)
		require.NoError(t, os.Rename(path, path+".elsewhere"))
		require.NoError(t, os.Symlink(path+".elsewhere", path))
		r, err := h.Open("r1")
		if err == nil {
			_, err = r.Standing()
		}
		require.Error(t, err, name)
		assert.Contains(t, err.Error(), "symbolic link", name)
	}
}

func TestAHostCannotFillTheDisk(t *testing.T) {
	long := strings.Repeat("x", 2<<20)
	huge := event.TaskDone{Host: "h", Status: event.Changed, Msg: long, Result: json.RawMessage(`"` + long + `"`), Diff: []modules.Diff{{Subject: "f", Before: long}}}
	for range 2000 {
		huge.Items = append(huge.Items, event.Item{Item: json.RawMessage(`"` + long[:4096] + `"`), Msg: long[:4096]})
	}
	var b bounds
	raw, err := b.event(event.Record{Seq: 1, Event: huge})
	require.NoError(t, err)
	assert.Less(t, len(raw), mostEvent)
	got, err := event.Parse(raw)
	require.NoError(t, err)
	assert.Contains(t, string(got.Event.(event.TaskDone).Result), `"sha256"`)
	b.count("h", perHost+1)
	raw, err = b.event(event.Record{Seq: 2, Event: huge})
	require.NoError(t, err)
	assert.Less(t, len(raw), shortEvent)
	assert.Equal(t, entryCut, b.entry(runner.Entry{Kind: runner.EntryDone, Host: "h", State: make([]byte, smallState+1)}).Kind)
	assert.Equal(t, runner.EntryDone, b.entry(runner.Entry{Kind: runner.EntryDone, Host: "other", State: make([]byte, smallState+1)}).Kind)
	small := event.TaskDone{Host: "h", Msg: "short"}
	raw, err = b.event(event.Record{Seq: 3, Event: small})
	require.NoError(t, err)
	got, err = event.Parse(raw)
	require.NoError(t, err)
	assert.Equal(t, small, got.Event)
}

// What else than results comes from hosts, plugins and playbooks is bounded as well.
func TestNoEventCanFillTheDisk(t *testing.T) {
	long := strings.Repeat("x", 2<<20)
	var counts []modules.Count
	var findings []event.Finding
	for range 1 << 16 {
		counts = append(counts, modules.Count{Name: "primaries of a table", Left: 1})
		findings = append(findings, event.Finding{Task: "healthy", Host: "h", Msg: "not healthy"})
	}
	for _, e := range []event.Event{
		event.Noted{Host: "h", Text: long},
		event.Noted{Host: "h", Phase: long, Detail: long},
		event.Noted{Host: "h", Phase: "moves", Counts: counts},
		event.GuardChecked{Play: "p", Findings: findings},
		event.GateWaiting{Message: long, Next: long},
		event.RunPaused{Reason: long},
		event.Lock{Holder: long, Reason: long},
		event.NewProblem(diag.Diagnostic{Problem: long, Hint: long}),
	} {
		t.Run(e.Kind(), func(t *testing.T) {
			var b bounds
			raw, err := b.event(event.Record{Seq: 1, Event: e})
			require.NoError(t, err)
			assert.Less(t, len(raw), mostEvent)
			got, err := event.Parse(raw)
			require.NoError(t, err)
			assert.IsType(t, e, got.Event)
			assert.Equal(t, int64(1), got.Seq)
		})
	}
}

func TestHowManyRunsAreKept(t *testing.T) {
	for _, tt := range []struct {
		text string
		want Keep
		ok   bool
	}{
		{"", DefaultKeep(), true},
		{"all", Keep{}, true},
		{"20", Keep{Runs: 20}, true},
		{"30d 1.5GiB 7", Keep{Runs: 7, Age: 30 * day, Bytes: 3 << 29}, true},
		{"12h", Keep{Age: 12 * time.Hour}, true},
		{"0", Keep{}, false},
		{"-3d", Keep{}, false},
		{"many", Keep{}, false},
		{"10MB", Keep{}, false},
	} {
		got, err := ParseKeep(tt.text)
		assert.Equal(t, tt.ok, err == nil, tt.text)
		assert.Equal(t, tt.want, got, tt.text)
	}
	h := home(t)
	ended := func(run string, code int, check bool) {
		w, err := h.Create(Meta{Run: run, Check: check, Sessions: []Session{{}}}, Private{})
		require.NoError(t, err)
		w.Record(event.Record{Seq: 1, Event: event.RunDone{ExitCode: code}})
		require.NoError(t, w.Close())
	}
	for i, run := range []string{"a-done", "b-failed", "c-check", "d-done", "e-done", "f-failed", "g-failed"} {
		ended(run, map[bool]int{true: 2}[i == 1 || i == 2 || i > 4], i == 2)
	}
	require.NoError(t, os.Mkdir(h.folder(newMark+"half"), 0o700))
	require.NoError(t, os.Chmod(filepath.Join(h.folder("a-done"), metaFile), 0o600)) // as an older pegbook left it
	later := time.Now().Add(2 * time.Hour)
	for _, tt := range []struct {
		ended, open Keep
		left        []string
	}{
		{Keep{Runs: 3}, Keep{}, []string{"b-failed", "c-check", "d-done", "e-done", "f-failed", "g-failed"}},
		{Keep{Bytes: 1}, Keep{}, []string{"b-failed", "e-done", "f-failed", "g-failed"}},
		{Keep{Runs: 1}, Keep{Runs: 2}, []string{"e-done", "f-failed", "g-failed"}},
		{Keep{Age: time.Hour}, Keep{Age: 3 * time.Hour}, []string{"f-failed", "g-failed"}},
		{Keep{}, Keep{Age: time.Hour}, nil},
	} {
		require.NoError(t, h.Prune(tt.ended, tt.open, later))
		names, err := h.Names()
		require.NoError(t, err)
		assert.Equal(t, tt.left, names, "%v %v", tt.ended, tt.open)
	}
	_, err := os.Lstat(h.folder(newMark + "half"))
	assert.True(t, errors.Is(err, os.ErrNotExist))
	for text, ok := range map[string]bool{"30d": true, "12h": true, "30": false, "2GiB": false, "": false} {
		_, err := ParseAge(text)
		assert.Equal(t, ok, err == nil, text)
	}
}

func TestARunThatAnotherHasTakenBackSaysSo(t *testing.T) {
	h := home(t)
	begin := func(m Meta, acts bool) {
		m.Sessions = []Session{{}}
		w, err := h.Create(m, Private{})
		require.NoError(t, err)
		if acts {
			require.NoError(t, w.Keep(runner.Entry{Kind: runner.EntryActing, Place: "a"}))
		}
		w.Record(event.Record{Seq: 1, Event: event.RunDone{ExitCode: 2}})
		require.NoError(t, w.Close())
	}
	begin(Meta{Run: "r1"}, true)
	for _, tt := range []struct {
		m    Meta
		acts bool
		by   string
	}{
		{Meta{Run: "r2", RollsBack: "r1", Check: true}, true, ""},
		{Meta{Run: "r3", RollsBack: "r1"}, false, ""},
		{Meta{Run: "r4", RollsBack: "r3"}, true, ""},
		{Meta{Run: "r5", RollsBack: "r1"}, true, "r5"},
	} {
		begin(tt.m, tt.acts)
		r, err := h.Open("r1")
		require.NoError(t, err)
		by, err := r.TakenBackBy()
		require.NoError(t, err)
		assert.Equal(t, tt.by, by, tt.m.Run)
	}
}
