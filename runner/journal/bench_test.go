package journal

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner"
	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/event"
)

// fill keeps a run: of five tasks two make a file, one is a command, two are skipped.
func fill(tb testing.TB, w *Writer, hosts, tasks int) {
	tb.Helper()
	seq := int64(0)
	emit := func(e event.Event) {
		seq++
		w.Record(event.Record{Seq: seq, Time: time.Now(), Event: e})
	}
	recap := map[string]event.Counts{}
	emit(event.RunStarted{Run: w.Run(), Playbook: "site.yml"})
	emit(event.BatchStarted{Play: "replica servers", Batch: 1, Batches: 1})
	for t := range tasks {
		task := fmt.Sprintf("pegasus : configuration file %d is there", t)
		for h := range hosts {
			host := fmt.Sprintf("replica-%04d.example.net", h)
			kind := t % 5
			e := runner.Entry{Place: fmt.Sprintf("0.0.%d.0.%d", t, h), Host: host, Task: task}
			emit(event.TaskStarted{Play: "replica servers", Batch: 1, Task: task, Host: host})
			acting, done := e, e
			acting.Kind, done.Kind = runner.EntryActing, runner.EntryDone
			result := json.RawMessage(fmt.Sprintf(`{"changed":true,"failed":false,"rc":0,"stdout":"line %d","stderr":"","stdout_lines":["line %d"],"stderr_lines":[],"cmd":["/usr/local/bin/setting","--of","%s"],"delta":"0:00:00.003","start":"2026-03-01 12:00:00.000000","end":"2026-03-01 12:00:00.003000"}`, t, t, host))
			done.State = json.RawMessage(`{"status":"changed","changed":true,"uses":[1,2,3],"digest":"0123456789abcdef"}`)
			ended := event.TaskDone{Play: "replica servers", Batch: 1, Task: task, Module: "command", Host: host, Status: event.Changed, Result: result, TookMS: 3.25,
				Diff: []modules.Diff{{Subject: "setting", Note: "runs"}}, At: diag.Position{File: "roles/pegasus/tasks/main.yml", Line: 100 + t, Column: 7}}
			switch kind {
			case 0, 1: // a file
				ended.Module, ended.Diff = "copy", []modules.Diff{{Subject: "/etc/pegasus/setting", Note: "created, 12 bytes, mode 0644"}}
				ended.Result = json.RawMessage(`{"changed":true,"dest":"/etc/pegasus/setting","failed":false,"mode":"0644","size":12,"state":"file"}`)
			case 3, 4: // its condition was false
				ended.Status, ended.Diff, ended.Result = event.Skipped, nil, json.RawMessage(`{"changed":false,"failed":false,"skip_reason":"Conditional result was False","skipped":true}`)
				ended.FalseCondition = `eq .role "meta"`
			}
			if kind < 3 {
				require.NoError(tb, w.Keep(acting))
			}
			require.NoError(tb, w.Keep(done))
			emit(ended)
			recap[host] = event.Counts{OK: t + 1, Changed: t + 1}
		}
	}
	emit(event.RunDone{Recap: recap, TookMS: 1})
}

// BenchmarkThousandHosts keeps a run of 1,000 hosts and 100 tasks, and opens it: the run is asked for where each host
// stands, and for all that it remembers.
func BenchmarkThousandHosts(b *testing.B) {
	const hosts, tasks = 1000, 100
	for b.Loop() {
		h, err := OpenHome(b.TempDir())
		require.NoError(b, err)
		start := time.Now()
		w, err := h.Create(Meta{Run: "r1", Sessions: []Session{{}}}, Private{})
		require.NoError(b, err)
		fill(b, w, hosts, tasks)
		require.NoError(b, w.Close())
		b.ReportMetric(time.Since(start).Seconds()/hosts/tasks*1e6, "µs/step")
		start = time.Now()
		r, err := h.Open("r1")
		require.NoError(b, err)
		n := 0
		_, err = r.Entries(func(runner.Entry) error { n++; return nil })
		require.NoError(b, err)
		require.Equal(b, hosts*tasks*8/5, n)
		b.ReportMetric(time.Since(start).Seconds(), "s/entries")
		start = time.Now()
		s, err := r.Standing()
		require.NoError(b, err)
		require.Len(b, s.Hosts, hosts)
		b.ReportMetric(time.Since(start).Seconds(), "s/show")
		b.ReportMetric(float64(r.Bytes)/1e6, "MB")
		require.Less(b, r.Bytes, int64(30<<20))
	}
}
