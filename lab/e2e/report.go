package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"
)

// report is the table for programs.
type report struct {
	Date  string  `json:"date"`
	On    string  `json:"on"`
	Scale float64 `json:"scale"`
	// Load is the machine's load average as the report was written.
	Load   string    `json:"load"`
	Faults []outcome `json:"faults"`
}

// outcome is what became of a scenario, for programs.
type outcome struct {
	Name           string   `json:"name"`
	Fault          string   `json:"fault"`
	Outcome        string   `json:"outcome"`
	ExitCode       int      `json:"exit_code"`
	Seconds        float64  `json:"seconds"`
	Forecast       float64  `json:"forecast_seconds,omitempty"`
	Operations     int      `json:"operations"`
	Failures       int      `json:"failures"`
	LostWrites     int      `json:"lost_writes"`
	LongestStallMS float64  `json:"longest_stall_ms"`
	LeastCopies    int      `json:"least_copies"`
	Counts         int      `json:"counts"`
	SettingsBefore string   `json:"settings_before"`
	SettingsAfter  string   `json:"settings_after"`
	SettingsMended string   `json:"settings_mended"`
	OwnMS          []int64  `json:"own_ms"`
	LastWord       string   `json:"last_word,omitempty"`
	Wrong          []string `json:"wrong"`
}

func (r *row) report() outcome {
	o := outcome{Name: r.name, Fault: r.fault, Outcome: r.outcome(), ExitCode: r.code, Seconds: r.took.Seconds(), Forecast: r.forecast.Seconds(),
		Operations: r.saw.Operations, Failures: r.saw.Failures, LostWrites: r.saw.LostWrites, LongestStallMS: r.saw.LongestStallMS,
		LeastCopies: r.seen.Least, Counts: r.seen.Looks, SettingsBefore: r.wanted, SettingsAfter: r.settings, SettingsMended: r.after,
		OwnMS: []int64{}, LastWord: r.lastWord, Wrong: append([]string{}, r.wrong...)}
	for _, n := range r.nodes {
		o.OwnMS = append(o.OwnMS, n.Own().Milliseconds())
	}
	return o
}

// write writes the files that are asked for.
func write(o options, began time.Time, rows []row) error {
	if o.markdown != "" {
		if err := os.WriteFile(o.markdown, []byte(markdown(rows)), 0o600); err != nil {
			return err
		}
	}
	if o.json == "" {
		return nil
	}
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return err
	}
	r := report{Date: began.UTC().Format(time.RFC3339), On: o.On, Scale: o.Scale, Load: strings.TrimSpace(string(load)), Faults: []outcome{}}
	for i := range rows {
		r.Faults = append(r.Faults, rows[i].report())
	}
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(o.json, append(raw, '\n'), 0o600)
}

// markdown is the table for documents.
func markdown(rows []row) string {
	var b strings.Builder
	line := func(cells []string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	line(headings())
	line(strings.Split(strings.Repeat("---,", len(headings())-1)+"---", ","))
	for i := range rows {
		line(rows[i].columns())
	}
	return b.String()
}
