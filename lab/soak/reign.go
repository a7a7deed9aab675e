package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pegbook/pegbook/lab/stage"
)

// A level that people have set is in the memory of the meta server that leads: another one that takes the lead is at
// the level of its configuration. An update reads the level once, and puts it back in the end, whoever leads by then.
// What it cannot put back is a level that was lost before it has read it, or that is lost after it has put it back.

// reign is a meta server's taking the lead, by its own word.
type reign struct {
	at  time.Time
	who string
}

// reigns are those that have begun since then.
func (l *lane) reigns(since time.Time) ([]reign, error) {
	text, err := os.ReadFile(filepath.Join(l.labDir(), "changes.log"))
	if err != nil {
		return nil, err
	}
	return parseReigns(string(text), since), nil
}

// parseReigns reads "11:14:02.123 127.78.92.11:34601 meta leads". Lines have no date: they are of the day since then.
func parseReigns(text string, since time.Time) (list []reign) {
	since = since.UTC().Truncate(time.Millisecond)
	day := since.Truncate(24 * time.Hour)
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for _, line := range slices.Backward(lines) {
		words := strings.Fields(line)
		if len(words) < 4 {
			continue
		}
		clock, err := time.Parse("15:04:05.000", words[0])
		if err != nil {
			continue
		}
		at := day.Add(clock.Sub(clock.Truncate(24 * time.Hour)))
		if since.Sub(at) > 12*time.Hour {
			at = at.Add(24 * time.Hour) // past midnight
		}
		if at.Before(since) {
			break
		}
		if strings.Join(words[2:], " ") == "meta leads" {
			list = append(list, reign{at, words[1]})
		}
	}
	slices.Reverse(list)
	return list
}

// holding is the time in which an update knows the level that it is to put back: from the end of the task that reads it
// to the start of the task that has put it back. What is zero has not come.
type holding struct{ from, to time.Time }

const (
	readsLevel = "the meta server only cures, and gives a stopped server time to come back"
	putsBack   = "settings are as before"
)

// holdings are those of the runs of pegbook that were played, by their ids: what goes on with a run is the same run.
func holdings(runs []*stage.Run) []holding {
	by, ids := map[string]*holding{}, []string{}
	for _, run := range runs {
		id, _ := run.Named()
		h := by[id]
		if h == nil {
			h = &holding{}
			by[id], ids = h, append(ids, id)
		}
		h.follow(run.All())
	}
	list := make([]holding, 0, len(ids))
	for _, id := range ids {
		list = append(list, *by[id])
	}
	return list
}

func (h *holding) follow(records []stage.Record) {
	var began time.Time
	for _, rec := range records {
		done := rec.Event == "task_done" && (rec.Status == "ok" || rec.Status == "changed")
		switch {
		case strings.HasSuffix(rec.Task, readsLevel) && done && h.from.IsZero():
			h.from = rec.Time
		case strings.HasSuffix(rec.Task, putsBack) && rec.Event == "task_started":
			began = rec.Time
		case strings.HasSuffix(rec.Task, putsBack) && done:
			h.to = began
		}
	}
}

// covers says that the update put back what was lost at that time.
func (h holding) covers(at time.Time) bool {
	return !h.from.IsZero() && !at.Before(h.from) && !h.to.IsZero() && at.Before(h.to)
}

// due are the settings that may be there now: those before the update, and where a level was lost while no update held
// it, those of the configuration.
func (p *play) due() ([]string, error) {
	all, err := p.reigns(p.began)
	if err != nil {
		return nil, err
	}
	return dueSettings(p.out, all, holdings(p.out.runs), p.Configured), nil
}

func dueSettings(out *row, all []reign, held []holding, configured string) []string {
	due := []string{out.Before}
	for _, r := range all {
		if !slices.ContainsFunc(held, func(h holding) bool { return h.covers(r.at) }) {
			out.LevelLost = r.who + " led from " + r.at.Format("15:04:05.000")
			due = append(due, configured)
			break
		}
	}
	return due
}
