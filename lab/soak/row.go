package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/pegbook/pegbook/lab/stage"
	"github.com/pegbook/pegbook/lab/traffic"
)

// row is what became of a run.
type row struct {
	Number int    `json:"number"`
	Fault  string `json:"fault"`
	What   string `json:"what"`
	Kind   kind   `json:"kind"`
	// At is when and where the fault was put in; "" when the update had ended before.
	At string `json:"at,omitempty"`
	// Codes are the exit codes of the update and of what went on with it, Others those of updates beside it.
	Codes  []int   `json:"exit_codes"`
	Others []int   `json:"others,omitempty"`
	Took   float64 `json:"seconds"`
	// Starved is how long the machine has kept processes waiting at most, Disturbed how often the run was played before,
	// went wrong, and did not count because of that.
	Starved   float64 `json:"starved_ms"`
	Disturbed int     `json:"disturbed,omitempty"`
	// Before and Left are the settings before the update and as it left them.
	Before string `json:"settings_before"`
	Left   string `json:"settings_left"`
	// LevelLost says who took the lead while no update knew the level that was set; "" when nobody did.
	LevelLost string `json:"level_lost,omitempty"`

	seen    stage.Seen
	saw     traffic.Summary
	resumed []int
	runs    []*stage.Run
	wrong   []string
}

func (r *row) mark(format string, args ...any) {
	r.wrong = append(r.wrong, fmt.Sprintf(format, args...))
}

// MarshalJSON adds what was seen.
func (r *row) MarshalJSON() ([]byte, error) {
	type plain row
	return json.Marshal(struct {
		*plain
		Operations  int      `json:"operations"`
		Failures    int      `json:"failures"`
		LostWrites  int      `json:"lost_writes"`
		LongestMS   float64  `json:"longest_stall_ms"`
		LeastCopies int      `json:"least_copies"`
		Wrong       []string `json:"wrong,omitempty"`
	}{(*plain)(r), r.saw.Operations, r.saw.Failures, r.saw.LostWrites, r.saw.LongestStallMS, r.seen.Least, r.wrong})
}

// outcome is how the run ended in a word.
func (r *row) outcome() string {
	if len(r.wrong) > 0 {
		return "WRONG"
	}
	return strings.ReplaceAll(strings.Trim(fmt.Sprint(r.Codes), "[]"), " ", ", then ")
}

// line is the run as it ends.
func (r *row) line() string {
	text := fmt.Sprintf("%s %3d %-22s %-8s %3.0f s, %d failed, %d lost, stall %.0f ms, least %d, %s", time.Now().Format("15:04:05"), r.Number, r.Fault, r.outcome(), r.Took,
		r.saw.Failures, r.saw.LostWrites, r.saw.LongestStallMS, r.seen.Least, r.Kind)
	if r.At != "" {
		text += " @ " + r.At
	}
	if r.LevelLost != "" {
		text += ", " + r.LevelLost
	}
	return text
}

// keep puts what is known of a run that went wrong into a folder.
func (p *play) keep() {
	dir := filepath.Join(p.session.o.keep, fmt.Sprintf("%d-%d-%s", p.session.o.seed, p.number, p.fault.name))
	var text strings.Builder
	fmt.Fprintf(&text, "%s\n%s\n", p.out.line(), strings.Join(p.out.wrong, "\n"))
	fmt.Fprintf(&text, "worked on %v, victim %s\nsaw %s\n", p.worked, p.victim, p.out.saw)
	for i, run := range p.out.runs {
		fmt.Fprintf(&text, "\n===== run %d =====\n%s\n", i+1, run.Says())
	}
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "report.txt"), []byte(text.String()), 0o600)
	}
	for i, run := range p.out.runs {
		var lines strings.Builder
		for _, rec := range run.All() {
			line, _ := json.Marshal(rec) //nolint:errcheck // it was JSON before
			lines.Write(append(line, '\n'))
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, fmt.Sprintf("run-%d.jsonl", i+1)), []byte(lines.String()), 0o600)
		}
	}
	if text, read := os.ReadFile(filepath.Join(p.labDir(), "changes.log")); err == nil && read == nil {
		err = os.WriteFile(filepath.Join(dir, "changes.log"), text, 0o600)
	}
	for _, host := range p.Hosts.Names() {
		if err == nil {
			script := fmt.Sprintf("cd %s/hosts/%s 2>/dev/null && find . -name '*.log' -o -name 'log.*' -o -name result | head -50 | tar czf %s/%s-logs.tgz -T - 2>/dev/null || true", p.labDir(), host, dir, host)
			err = exec.Command("/bin/sh", "-c", script).Run()
		}
	}
	if err != nil {
		fmt.Println("    what is known could not be kept:", err)
		return
	}
	fmt.Println("    kept in", dir)
}
