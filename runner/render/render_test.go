package render

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/event"
)

func records(events ...event.Event) []event.Record {
	all := make([]event.Record, len(events))
	for i, e := range events {
		all[i] = event.Record{Seq: int64(i + 1), Event: e}
	}
	return all
}

func run() []event.Record {
	return records(
		event.RunStarted{Playbook: "site.yml", Check: true, Steps: 4},
		event.PlayStarted{Play: "web", Hosts: []string{"h1", "h2"}, Batches: 2},
		event.BatchStarted{Play: "web", Batch: 1, Batches: 2, Hosts: []string{"h1"}},
		event.TaskStarted{Play: "web", Batch: 1, Task: "write", Host: "h1"},
		event.TaskDone{Play: "web", Batch: 1, Task: "write", Host: "h1", Status: event.Changed, TookMS: 12,
			Diff: []modules.Diff{{Subject: "/etc/a", Before: "one\n", After: "two\n"}}, Result: json.RawMessage(`{"changed":true}`)},
		event.BatchStarted{Play: "web", Batch: 2, Batches: 2, Hosts: []string{"h2"}},
		event.TaskStarted{Play: "web", Batch: 2, Task: "write", Host: "h2"},
		event.Noted{Play: "web", Batch: 2, Task: "write", Host: "h2", Text: "waits for \x1b[31mpartition 1.2"},
		event.TaskDone{Play: "web", Batch: 2, Task: "write", Host: "h2", Status: event.Failed, TookMS: 1500, Msg: "no space\x1b[2J left",
			Items: []event.Item{{Item: json.RawMessage(`"a"`), Status: event.OK}, {Item: json.RawMessage(`"b"`), Status: event.Failed, Msg: "full"}}},
		event.RunDone{Recap: map[string]event.Counts{"h1": {OK: 1, Changed: 1}, "h2": {Failed: 1}}, ExitCode: 2, Message: "stopped early", TookMS: 2000},
	)
}

func TestPlain(t *testing.T) {
	var out bytes.Buffer
	p := NewPlain(&out, Options{Diff: true})
	for _, r := range run() {
		p.Record(r)
	}
	require.Equal(t, `RUN site.yml  check mode: nothing is changed

PLAY web  (2 hosts)

BATCH 1 of 2  h1

TASK write
  changed      h1  12ms
      --- /etc/a (now)
      +++ /etc/a (asked for)
      @@ -1 +1 @@
      -one
      +two

BATCH 2 of 2  h2

TASK write
  failed       h2  1.5s  no space\x1b[2J left
    failed     "b"  full

RECAP
  h1  ok=1 changed=1 unreachable=0 failed=0
  h2  ok=0 changed=0 unreachable=0 failed=1
stopped early
failed (exit 2: a host failed) in 2.0s
`, out.String())
}

func TestPlainVerbose(t *testing.T) {
	var out bytes.Buffer
	p := NewPlain(&out, Options{Verbosity: 1, Color: true})
	for _, r := range run() {
		p.Record(r)
	}
	require.Contains(t, out.String(), `{"changed":true}`)
	require.Contains(t, out.String(), `waits for \x1b[31mpartition 1.2`)
	require.Contains(t, out.String(), "\x1b[33mchanged")
}

// screen is a terminal of a kind: it understands what Live uses to redraw its region.
func screen(raw string) string {
	lines := []string{""}
	for raw != "" {
		switch {
		case strings.HasPrefix(raw, "\x1b["):
			n, i := 0, 2
			for ; raw[i] >= '0' && raw[i] <= '9'; i++ {
				n = n*10 + int(raw[i]-'0')
			}
			switch raw[i] {
			case 'A': // up n lines; what is below is erased by the J that follows
				lines = append(lines[:len(lines)-1-n], "")
			case 'J', 'm':
			}
			raw = raw[i+1:]
		case raw[0] == '\n':
			lines = append(lines, "")
			raw = raw[1:]
		case raw[0] == '\r':
			raw = raw[1:]
		default:
			lines[len(lines)-1] += raw[:1]
			raw = raw[1:]
		}
	}
	return strings.Join(lines, "\n")
}

func TestLive(t *testing.T) {
	var out bytes.Buffer
	l := NewLive(&out, Options{}, func() (int, int) { return 60, 10 })
	l.now = func() time.Time { return l.begun.Add(3 * time.Second) }
	for i, r := range run() {
		l.Record(r)
		l.mu.Lock()
		l.draw(true)
		l.mu.Unlock()
		if i == 7 { // the last host is at work
			require.Equal(t, "RUN site.yml  check mode: nothing is changed\nPLAY web  (2 hosts)\n  batch 1 of 2  h1\n    write  changed h1  0ms\n  batch 2 of 2  h2\n"+
				"── web · batch 2 of 2 (0ms) · 3.0s · 1 of 4 steps\n   h2  write  0ms  waits for \\x1b[31mpartition 1.2\n", screen(out.String()))
		}
	}
	l.Aside(func() { out.WriteString("somebody speaks\n") })
	require.NoError(t, l.Close())
	require.NoError(t, l.Close(), "closing twice is harmless")
	shown := screen(out.String())
	require.True(t, strings.HasSuffix(shown, "failed (exit 2: a host failed) in 2.0s\nsomebody speaks\n"), shown)
	require.Contains(t, shown, `failed       h2  1.5s  no space\x1b[2J left`)
	require.NotContains(t, shown, "──", "the region is gone at the end")
}

func TestLiveShowsWhatIsExpected(t *testing.T) {
	var out bytes.Buffer
	l := NewLive(&out, Options{}, func() (int, int) { return 120, 10 })
	at := l.begun
	l.mu.Lock()
	l.now = func() time.Time { return at }
	l.mu.Unlock()
	show := func(after time.Duration, events ...event.Event) string {
		l.mu.Lock()
		at = l.begun.Add(after)
		l.mu.Unlock()
		for _, r := range records(events...) {
			l.Record(r)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		return strings.Join(l.region(), "\n")
	}
	show(0, event.PlayStarted{Play: "replica servers", Hosts: []string{"r1", "r2", "r3", "r4"}, Batches: 4},
		event.BatchStarted{Batch: 1, Batches: 4, Hosts: []string{"r1"}})
	show(40*time.Second, event.BatchStarted{Batch: 2, Batches: 4, Hosts: []string{"r2"}}, event.TaskStarted{Batch: 2, Task: "primaries move", Host: "r2"},
		event.Noted{Batch: 2, Task: "primaries move", Host: "r2", Text: "takes about 11s", ExpectsMS: 11000})
	require.Equal(t, "── replica servers · batch 2 of 4 (4.0s of about 40.0s) · 44.0s · 2 more of them in about 1m20s\n   r2  primaries move  4.0s of about 11.0s  3 primaries left",
		show(44*time.Second, event.Noted{Batch: 2, Task: "primaries move", Host: "r2", Text: "3 primaries left"}))
	require.NoError(t, l.Close())
}

// drain is a replica server's turn as the modules tell it.
func drain(host string, at time.Time) []event.Record {
	var all []event.Record
	add := func(after time.Duration, e event.Event) {
		all = append(all, event.Record{Time: at.Add(after), Event: e})
	}
	primaries := modules.Count{Name: "primaries", Left: 4, Of: 4}
	add(0, event.BatchStarted{Batch: 2, Batches: 4, Hosts: []string{host}})
	add(0, event.TaskStarted{Batch: 2, Task: "primaries move", Host: host})
	for s := range 40 {
		primaries.Left = max(0, 4-s/8)
		add(time.Duration(s)*time.Second, event.Noted{Batch: 2, Task: "primaries move", Host: host, Text: "primaries leave: " + primaries.String(),
			Phase: "primaries leave", Counts: []modules.Count{primaries}, ElapsedMS: float64(s) * 1000, ExpectsMS: max(0, 11000-float64(s)*1000)})
	}
	add(40*time.Second, event.TaskDone{Batch: 2, Task: "primaries move", Host: host, Status: event.Changed, TookMS: 40000})
	add(40*time.Second, event.TaskStarted{Batch: 2, Task: "healthy", Host: host})
	add(41*time.Second, event.Noted{Batch: 2, Task: "healthy", Host: host, Text: "waits for pegasus: unhealthy partitions 3 of 9: a 1.2 has 2 of 3 replicas", Phase: "waits for pegasus",
		Counts: []modules.Count{{Name: "unhealthy partitions", Left: 3, Of: 9}}, Detail: "a 1.2 has 2 of 3 replicas", ElapsedMS: 1000})
	return all
}

func TestLiveCountsDown(t *testing.T) {
	var out bytes.Buffer
	l := NewLive(&out, Options{}, func() (int, int) { return 120, 10 })
	at := l.begun
	l.mu.Lock()
	l.now = func() time.Time { return at }
	l.mu.Unlock()
	var lines []string
	for _, r := range drain("r2", at) {
		l.mu.Lock()
		at = r.Time
		l.mu.Unlock()
		l.Record(r)
		l.mu.Lock()
		region := l.region()
		l.mu.Unlock()
		require.LessOrEqual(t, len(region), 2, "a line a node")
		if line := strings.Join(region[1:], ""); line != "" {
			lines = append(lines, line)
		}
	}
	require.NoError(t, l.Close())
	require.Equal(t, "   r2  primaries leave  2.0s of about 11.0s  primaries 4 of 4", lines[3])
	require.Equal(t, "   r2  primaries leave  20.0s of about 11.0s  primaries 2 of 4", lines[21])
	require.Equal(t, "   r2  waits for pegasus  1.0s  primaries 0 of 4, unhealthy partitions 3 of 9  a 1.2 has 2 of 3 replicas", lines[len(lines)-1],
		"what the node has left stays for its whole turn")
}

// TestPlainShowsProgressNowAndThen: a line when a wait begins, and one a quarter of a minute.
func TestPlainShowsProgressNowAndThen(t *testing.T) {
	shown := func(verbosity int) string {
		var out bytes.Buffer
		p := NewPlain(&out, Options{Verbosity: verbosity})
		for _, r := range drain("r2", time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)) {
			p.Record(r)
		}
		return out.String()
	}
	require.Equal(t, `
BATCH 2 of 4  r2

TASK primaries move
  … r2: primaries leave: primaries 4 of 4  (0ms of about 11.0s)
  … r2: primaries leave: primaries 3 of 4  (15.0s)
  … r2: primaries leave: primaries 1 of 4  (30.0s)
  changed      r2  40.0s

TASK healthy
  … r2: waits for pegasus: unhealthy partitions 3 of 9: a 1.2 has 2 of 3 replicas  (1.0s)
`, shown(0))
	require.Equal(t, 40, strings.Count(shown(3), "primaries leave"))
}

func TestForecast(t *testing.T) {
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	run := func(failed event.Status) string {
		var out bytes.Buffer
		f := NewForecast(&out, Options{})
		for _, r := range []struct {
			at time.Duration
			e  event.Event
		}{
			{0, event.PlayStarted{Play: "replica servers", Hosts: []string{"r1", "r2"}, Batches: 2}},
			{0, event.BatchStarted{Batch: 1, Batches: 2, Hosts: []string{"r1"}}},
			{100 * time.Millisecond, event.TaskDone{Task: "drain", Host: "r1", Status: event.Changed, ExpectsMS: 11000}},
			{200 * time.Millisecond, event.TaskDone{Task: "restart", Host: "r1", Status: event.Changed, ExpectsMS: 3000}},
			{200 * time.Millisecond, event.BatchStarted{Batch: 2, Batches: 2, Hosts: []string{"r2"}}},
			{300 * time.Millisecond, event.TaskDone{Task: "drain", Host: "r2", Status: failed, Msg: "no", ExpectsMS: 11000}},
			{300 * time.Millisecond, event.TaskDone{Task: "load", Host: "r2", Status: event.Unknown}},
			{300 * time.Millisecond, event.RunDone{}},
		} {
			f.Record(event.Record{Time: began.Add(r.at), Event: r.e})
		}
		return out.String()
	}
	require.Equal(t, `FORECAST
     25.3s  replica servers
     14.2s    r1
     11.1s    r2
     25.3s  in all, as far as modules can tell
Not in it: sending packages, loading and copying data, and "load".
`, run(event.Changed))
	require.Contains(t, run(event.Failed), "no forecast: the run would end early")
}

func TestLiveNeverWraps(t *testing.T) {
	var out bytes.Buffer
	l := NewLive(&out, Options{}, func() (int, int) { return 20, 6 })
	for host := range 30 {
		l.Record(event.Record{Event: event.TaskStarted{Batch: 1, Task: strings.Repeat("long ", 20), Host: string(rune('a' + host))}})
	}
	l.mu.Lock()
	lines := l.region()
	l.mu.Unlock()
	require.NoError(t, l.Close())
	require.Len(t, lines, 4, "a header, as many tasks as there is room for, and how many more")
	for _, line := range lines[:3] {
		require.Less(t, len([]rune(line)), 20)
	}
	require.Equal(t, "   … and 28 more", lines[3])
}

func TestRecapFoldsManyHosts(t *testing.T) {
	done := event.RunDone{Recap: map[string]event.Counts{"bad": {OK: 1, Failed: 1}}}
	for i := range 100 {
		done.Recap[strings.Repeat("x", i+1)] = event.Counts{OK: 2, Changed: 1}
	}
	var out bytes.Buffer
	recap(&out, paint{}, done)
	require.Equal(t, 4, strings.Count(out.String(), "\n")-1, out.String())
	require.Contains(t, out.String(), "100 hosts without failure, together: ok=200 changed=100")
}

func TestDuration(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"0ms": 0, "8ms": 8 * time.Millisecond, "1.2s": 1200 * time.Millisecond, "3m05s": 185 * time.Second, "2h04m": 2*time.Hour + 4*time.Minute,
	} {
		require.Equal(t, want, Duration(d))
	}
}

func FuzzClean(f *testing.F) {
	f.Add("a\x1b[31mb\r\n\tc\u009b")
	f.Add("\x9b2J of an old terminal\xff\xed\xa0\x80")
	f.Add("a\u2028b\u202e\u2066\ufeff")
	f.Fuzz(func(t *testing.T, text string) {
		clean := Clean(text, false)
		if !utf8.ValidString(clean) {
			t.Fatalf("%q keeps bytes that are no text: %q", text, clean)
		}
		for _, r := range clean {
			if r != '\t' && isControl(r) {
				t.Fatalf("%q keeps the control character %q", text, r)
			}
		}
	})
}
