package config

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func load(t *testing.T, text, scale string) *Config {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.ini")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	c, err := Load(path, scale)
	require.NoError(t, err)
	return c
}

func TestScaleIsForEveryDuration(t *testing.T) {
	const text = "[replication]\nfd_grace_seconds = 22\n[simulator]\ntime_scale = 0.5\n"
	require.Equal(t, 11*time.Second, func() time.Duration { c := load(t, text, ""); return c.Scaled(c.Grace) }())
	require.Equal(t, 2200*time.Millisecond, func() time.Duration { c := load(t, text, "0.1"); return c.Scaled(c.Grace) }(), "the environment wins")
	require.Equal(t, 11*time.Second, func() time.Duration { c := load(t, text, "-3"); return c.Scaled(c.Grace) }(), "nonsense does not")
}

func TestDefaultsAreTheCodesNotTheTemplates(t *testing.T) {
	c := load(t, "[core]\ntool = nativerun\n", "")
	require.False(t, c.FlowControl)
	require.Equal(t, int64(10), c.AddSecondaryMax)
	require.Equal(t, 9*time.Second, c.Lease)
	require.Equal(t, int64(65), c.LivePercentage)
	require.Empty(t, c.Tables)
}

func TestDataDirs(t *testing.T) {
	c := load(t, "[core]\ndata_dir = /app\n", "")
	dirs, err := c.ParseDataDirs("replica")
	require.NoError(t, err)
	require.Equal(t, []DataDir{{"default", "/app/replica"}}, dirs)
	for _, list := range []string{"ssd1", "ssd1:", ":/x", "a:/x:/y", "a:/x,b:/x/", "a:/x,a:/y"} {
		_, err := load(t, "[replication]\ndata_dirs = "+list+"\n", "").ParseDataDirs("replica")
		require.Error(t, err, list)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("[a]\nk = v\n; c\n")
	f.Add("k = v")
	f.Add("[\n]\n=\n[]\n=x")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseINI("f", text)
		if err != nil {
			return
		}
		c := &Config{file: got, scale: 1}
		c.readHost()
		c.readMeta()
		c.readReplica()
		c.readSim()
		_, _ = c.ParseMetas()           // must not panic
		_, _ = c.ParseDataDirs("whole") // must not panic
	})
}

func TestFaultsAreLaidOverTheFile(t *testing.T) {
	c := load(t, "[simulator]\nlearn_ms = 5\ntime_scale = 1\n", "")
	path := filepath.Join(t.TempDir(), "faults")
	k, err := c.Lay("load_ms=7; hung", path)
	require.NoError(t, err)
	require.Equal(t, 5*time.Millisecond, c.Sim().Learn)
	require.Equal(t, 7*time.Millisecond, c.Sim().LoadTotal)
	require.True(t, c.Sim().Hung)

	require.NoError(t, os.WriteFile(path, []byte("# a comment\nhung = false\nstuck_partitions = 2.3,2.4\n"), 0o644))
	changed, err := k.Look()
	require.NoError(t, err)
	require.True(t, changed)
	require.False(t, c.Sim().Hung)
	require.True(t, c.Sim().Stuck.Has("2.4"))
	require.False(t, c.Sim().Stuck.Has("2.5"))
	require.NoError(t, c.SetFaults("stuck_partitions=all"))
	require.True(t, c.Sim().Stuck.Has("2.5"))
	require.NoError(t, c.SetFaults("clear"))
	require.NoError(t, os.Remove(path))
	changed, err = k.Look()
	require.NoError(t, err)
	require.True(t, changed)
	require.True(t, c.Sim().Hung)
	require.Equal(t, "hung=true;learn_ms=5;load_ms=7", c.Faults())
}

func TestFaultsThatThereAreNotAreErrors(t *testing.T) {
	for _, text := range []string{"no_such", "hung=maybe", "load_ms=soon", "load_ms=-1", "load_ms"} {
		_, err := ParseFaults(text)
		require.Error(t, err, text)
	}
}

func TestControlFileIsTakenUpWhereverItAppears(t *testing.T) {
	c := load(t, "[core]\ntool = nativerun\n", "")
	path := filepath.Join(t.TempDir(), "later", "faults")
	k, err := c.Lay("", path)
	require.NoError(t, err)
	taken := make(chan string, 16)
	go k.Watch(t.Context(), func(changed bool, err error) {
		if changed || err != nil {
			taken <- c.Faults()
		}
	})
	expect := func(want string) {
		t.Helper()
		for end := time.After(20 * time.Second); ; {
			select {
			case got := <-taken:
				if got == want {
					return
				}
			case <-end:
				t.Fatalf("never became %q", want)
			}
		}
	}
	changed := c.Changed()
	require.NoError(t, os.Mkdir(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte("hung"), 0o644))
	expect("hung=true")
	<-changed
	require.NoError(t, os.Remove(path))
	expect("")
	require.NoError(t, os.WriteFile(path+".new", []byte("learn_ms=5"), 0o644))
	require.NoError(t, os.Rename(path+".new", path))
	expect("learn_ms=5")
	require.NoError(t, os.RemoveAll(filepath.Dir(path)))
	expect("")
}

func TestControlFileIsWatchedInAFolderThatIsThere(t *testing.T) {
	c := load(t, "[core]\ntool = nativerun\n", "")
	path := filepath.Join(t.TempDir(), "faults")
	k, err := c.Lay("", path)
	require.NoError(t, err)
	looks := make(chan bool, 64)
	go k.Watch(t.Context(), func(changed bool, _ error) { looks <- changed })
	require.False(t, <-looks, "the first look")
	require.NoError(t, os.WriteFile(path, []byte("hung"), 0o644))
	for !<-looks { // the file is there before its text is
	}
	require.Equal(t, "hung=true", c.Faults())
	require.NoError(t, os.Remove(path))
	for !<-looks {
	}
	require.Empty(t, c.Faults())
}
