package main

import (
	"math"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

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
	s, err := newStage(t.Context(), options{pegbook: pegbook, repository: filepath.Join("..", ".."), on: "lab", scale: 0.1, net: labNet, only: regexp.MustCompile("")})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.close()) })
	for _, sc := range scenarios() {
		// Times are those of a machine that is busy with other tests too.
		if sc.want.stall > 0 {
			sc.want.stall = 4 * time.Second
		}
		switch sc.name {
		case "meta-killed", "broken-package", "pegbook-killed":
			r, err := s.play(t.Context(), sc)
			require.NoError(t, err, sc.name)
			t.Log(r.line())
			assert.Empty(t, r.wrong, sc.name)
			if sc.name == "pegbook-killed" {
				// What it took in the end was an update of two replica servers that nothing disturbed.
				forecast := s.forecast(t, (&performance{stage: s, scenario: sc}).updateArgs())
				assert.InEpsilon(t, 1, math.Exp2(math.Abs(math.Log2(forecast.Seconds()/r.took.Seconds()))), 1, "a forecast of %s for %s", forecast, r.took)
			}
		}
	}
}

// forecast is how long pegbook expects an update to take.
func (s *stage) forecast(t *testing.T, args []string) time.Duration {
	t.Helper()
	argv := append([]string{"run", filepath.Join(s.o.repository, "playbooks", "rolling-update.yml"), "-i", s.hosts.inventory(), "--forecast"}, args...)
	out, err := exec.CommandContext(t.Context(), s.o.pegbook, argv...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	t.Logf("%s", out)
	found := regexp.MustCompile(`(\S+)  in all`).FindSubmatch(out)
	require.NotNil(t, found, "%s", out)
	d, err := time.ParseDuration(string(found[1]))
	require.NoError(t, err)
	return d
}

// TestJudgeFinds lets everything be wrong that can be, one thing at a time.
func TestJudgeFinds(t *testing.T) {
	good := func() row {
		return row{name: "ha", least: 2, settings: "calm", wanted: "calm", after: "calm", spoke: true, saw: traffic.Summary{Operations: 5, LongestStallMS: 999}}
	}
	sc := scenario{name: "ha", want: want{codes: []int{0}, least: 2, stall: time.Second, says: []string{""}}}
	r := good()
	r.judge(sc, options{})
	require.Empty(t, r.wrong)
	for what, spoil := range map[string]func(r *row){
		"exit code 2 instead of [0]":           func(r *row) { r.code = 2 },
		"1 operations failed":                  func(r *row) { r.saw.Failures = 1 },
		"3 acknowledged writes were lost":      func(r *row) { r.saw.LostWrites = 3 },
		"an operation took 1s":                 func(r *row) { r.saw.LongestStallMS = 1000 },
		"1 live copies of partition 2.3":       func(r *row) { r.least, r.which = 1, "partition 2.3" },
		`are "frantic" after it`:               func(r *row) { r.settings = "frantic" },
		`are "frantic" when all is mended`:     func(r *row) { r.after = "frantic" },
		"without a recap":                      func(r *row) { r.spoke = false },
		"pegbook itself took 2s for a replica": func(r *row) { r.nodes = []node{{took: 5 * time.Second, waiting: 3 * time.Second}} },
	} {
		r := good()
		spoil(&r)
		r.judge(sc, options{})
		require.Len(t, r.wrong, 1, what)
		require.Contains(t, r.wrong[0], what)
		require.Contains(t, table([]row{r}), "WRONG")
	}
	sc.want.says = []string{"--tags restore"}
	r = good()
	r.judge(sc, options{})
	require.Len(t, r.wrong, 1, "what people must be told")
}
