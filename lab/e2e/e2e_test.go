package main

import (
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/lab/stage"
	"github.com/pegbook/pegbook/lab/traffic"
)

// labNet is the number of the lab's addresses, apart from those that people choose by hand.
const labNet = 79

// TestFaults plays some of the faults on the lab's hosts, whose servers are ten times faster than real ones.
func TestFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes most of a minute")
	}
	pegbook := filepath.Join(t.TempDir(), "pegbook")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", pegbook, "github.com/pegbook/pegbook/cmd/pegbook").CombinedOutput()
	require.NoError(t, err, "%s", out)
	s, err := stage.New(t.Context(), stage.Options{Pegbook: pegbook, Repository: filepath.Join("..", ".."), On: "lab", Scale: 0.1, Net: labNet})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	for _, sc := range scenarios() {
		// Times are those of a machine that is busy with other tests too.
		for i := range sc.want {
			if sc.want[i].stall > 0 {
				sc.want[i].stall = 4 * time.Second
			}
		}
		switch sc.name {
		case "meta-killed", "broken-package", "pegbook-killed":
			r, err := play(t.Context(), s, sc, options{gap: 20 * time.Second})
			require.NoError(t, err, sc.name)
			t.Log(r.line())
			assert.Empty(t, r.wrong, sc.name)
			if sc.name == "pegbook-killed" {
				// What it took in the end was an update of two replica servers that nothing disturbed.
				forecast, err := s.Forecast(t.Context(), (&performance{Stage: s, scenario: sc, worked: s.Replicas()[:2]}).updateArgs())
				require.NoError(t, err)
				assert.InEpsilon(t, 1, math.Exp2(math.Abs(math.Log2(forecast.Seconds()/r.took.Seconds()))), 1, "a forecast of %s for %s", forecast, r.took)
			}
		}
	}
}

// TestJudgeFinds lets everything be wrong that can be, one thing at a time.
func TestJudgeFinds(t *testing.T) {
	good := func() row {
		return row{name: "ha", seen: stage.Seen{Least: 2}, took: 10 * time.Second, forecast: 8 * time.Second, settings: "calm", wanted: "calm", after: "calm", spoke: true, saw: traffic.Summary{Operations: 5, LongestStallMS: 999}}
	}
	sc := scenario{name: "ha", forecast: true, want: []want{{least: 2, stall: time.Second}, {code: 2, least: 2, says: []string{"--tags restore"}}}}
	r := good()
	r.judge(sc, time.Second)
	require.Empty(t, r.wrong)
	for what, spoil := range map[string]func(r *row){
		"exit code 4 instead of 0":             func(r *row) { r.code = 4 },
		`nobody is told "--tags restore"`:      func(r *row) { r.code = 2 },
		"the forecast was 8s, and it took 12s": func(r *row) { r.took = 12 * time.Second },
		"nobody counted copies for 2s":         func(r *row) { r.seen.Gap = 2 * time.Second },
		"1 operations failed":                  func(r *row) { r.saw.Failures = 1 },
		"3 acknowledged writes were lost":      func(r *row) { r.saw.LostWrites = 3 },
		"an operation took 1s":                 func(r *row) { r.saw.LongestStallMS = 1000 },
		"1 live copies of partition 2.3":       func(r *row) { r.seen.Least, r.seen.Which = 1, "partition 2.3" },
		`are "frantic" after it`:               func(r *row) { r.settings = "frantic" },
		`are "frantic" when all is mended`:     func(r *row) { r.after = "frantic" },
		"without a recap":                      func(r *row) { r.spoke = false },
		"pegbook itself took 2s for a replica": func(r *row) { r.nodes = []stage.Node{{Took: 5 * time.Second, Waiting: 3 * time.Second}} },
	} {
		r := good()
		spoil(&r)
		r.judge(sc, time.Second)
		require.Len(t, r.wrong, 1, what)
		require.Contains(t, r.wrong[0], what)
		require.Contains(t, table([]row{r}), "WRONG")
	}
	r = good()
	r.code, r.says = 2, "run it with --tags restore"
	r.judge(sc, time.Second)
	require.Empty(t, r.wrong, "it may stop, too, if it says so")
}

// TestReports: the table as Markdown and as JSON.
func TestReports(t *testing.T) {
	dir := t.TempDir()
	o := options{Options: stage.Options{On: "lab", Scale: 0.1}, json: filepath.Join(dir, "table.json"), markdown: filepath.Join(dir, "table.md")}
	rows := []row{{name: "ha", fault: "none", took: 10 * time.Second, forecast: 8 * time.Second, seen: stage.Seen{Least: 2, Looks: 50}, nodes: []stage.Node{{Took: 5 * time.Second, Waiting: 4900 * time.Millisecond}}}}
	require.NoError(t, write(o, time.Unix(0, 0), rows))
	text, err := os.ReadFile(o.markdown)
	require.NoError(t, err)
	assert.Contains(t, string(text), "| none | finished | 0 | 10s | 0 | 0 | 0 | 0 ms | 2 | as before | 100ms | 8s (+25 %) |\n")
	raw, err := os.ReadFile(o.json)
	require.NoError(t, err)
	var back report
	require.NoError(t, json.Unmarshal(raw, &back))
	require.Len(t, back.Faults, 1)
	assert.Equal(t, "1970-01-01T00:00:00Z", back.Date)
	assert.Equal(t, []int64{100}, back.Faults[0].OwnMS)
	assert.Equal(t, 8.0, back.Faults[0].Forecast)
	assert.Equal(t, 2, back.Faults[0].LeastCopies)
}
