package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/lab/stage"
)

func TestReignsAreReadFromWhatServersWereTold(t *testing.T) {
	text := `23:59:50.000 127.78.92.11:34601 meta leads
23:59:58.250 127.78.92.12:34601 meta leads
23:59:59.000 127.78.92.12:34601 meta level lively
23:59:59.500 127.78.92.14:34801 replica start 2.5.0 config 0011
00:00:03.125 127.78.92.13:34601 meta leads
`
	since := time.Date(2026, 11, 22, 23, 59, 55, 0, time.UTC)
	all := parseReigns(text, since)
	require.Len(t, all, 2)
	require.Equal(t, reign{since.Add(3250 * time.Millisecond), "127.78.92.12:34601"}, all[0])
	require.Equal(t, reign{since.Add(8125 * time.Millisecond), "127.78.92.13:34601"}, all[1])
	require.Empty(t, parseReigns(text, since.Add(time.Minute)))
	require.Empty(t, parseReigns("", since))
}

// TestALevelIsDueUnlessItWasLostWhileNobodyHeldIt lets another meta server lead at each moment of an update.
func TestALevelIsDueUnlessItWasLostWhileNobodyHeldIt(t *testing.T) {
	begun := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	at := func(s int) time.Time { return begun.Add(time.Duration(s) * time.Second) }
	update := []stage.Record{
		{Event: "task_started", Task: "pegasus : " + readsLevel, Time: at(10)},
		{Event: "task_done", Task: "pegasus : " + readsLevel, Status: "changed", Time: at(12)},
		{Event: "task_started", Task: "pegasus : " + putsBack, Time: at(20)},
		{Event: "task_done", Task: "pegasus : " + putsBack, Status: "changed", Time: at(22)},
	}
	resumed := []stage.Record{
		{Event: "task_started", Task: "pegasus : " + putsBack, Time: at(40)},
		{Event: "task_done", Task: "pegasus : " + putsBack, Status: "changed", Time: at(42)},
	}
	failed := []stage.Record{update[0], update[1], update[2], {Event: "task_done", Task: "pegasus : " + putsBack, Status: "failed", Time: at(22)}}
	const before, configured = "lively 1", "steady 1"
	for what, c := range map[string]struct {
		sessions [][]stage.Record
		leads    []int
		lost     bool
	}{
		"nobody else leads":                        {[][]stage.Record{update}, nil, false},
		"before the level is read":                 {[][]stage.Record{update}, []int{5}, true},
		"while it is read":                         {[][]stage.Record{update}, []int{11}, true},
		"when it is held":                          {[][]stage.Record{update}, []int{15}, false},
		"while it is put back":                     {[][]stage.Record{update}, []int{21}, true},
		"when it has been put back":                {[][]stage.Record{update}, []int{30}, true},
		"when it is held, and then when it is not": {[][]stage.Record{update}, []int{15, 30}, true},
		"between an update and what goes on with it, which puts it back": {[][]stage.Record{update[:3], resumed}, []int{30}, false},
		"when it has failed to put it back":                              {[][]stage.Record{failed}, []int{15}, true},
		"when it has failed to, and what goes on with it does":           {[][]stage.Record{failed, resumed}, []int{15, 30}, false},
	} {
		held := holding{}
		for _, records := range c.sessions {
			held.follow(records)
		}
		var all []reign
		for _, s := range c.leads {
			all = append(all, reign{at(s), "meta3"})
		}
		out := &row{Before: before}
		want := []string{before}
		if c.lost {
			want = append(want, configured)
		}
		require.Equal(t, want, dueSettings(out, all, []holding{held}, configured), what)
		require.Equal(t, c.lost, out.LevelLost != "", what)
	}
}
