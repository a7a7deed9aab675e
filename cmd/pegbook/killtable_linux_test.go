package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// killTable is what came of killing playbooks.
type killTable struct {
	stages []stage
	whole  []deeds
	rows   map[string]*killRow
}

type killRow struct{ lives, kills, disturbed, stops, differences int }

func newKillTable(stages []stage, whole []deeds) *killTable {
	return &killTable{stages, whole, map[string]*killRow{}}
}

// compare compares a life of the lab with the one in which nothing was killed.
func (k *killTable) compare(t *testing.T, l life, life []deeds) {
	t.Helper()
	for i, d := range life {
		if !l.kills(k.stages[i]) {
			continue
		}
		name := k.stages[i].book + " " + l.how
		if k.rows[name] == nil {
			k.rows[name] = &killRow{}
		}
		row, whole := k.rows[name], k.whole[i]
		row.lives++
		row.kills += len(d.kills)
		row.stops += len(d.stops)
		what := fmt.Sprintf("%s, %s: ", k.stages[i].book, l.name)
		end, ok := d.end, true
		if d.disturbed() {
			row.disturbed++
			end = d.endUnder(whole.end["settings"])
			ok = assert.Empty(t, missing(whole.owned(), d.owned(), len(d.stops) > 0), what+"what was done to each server")
			ok = assert.Empty(t, missing(whole.asked(), d.asked(), true), what+"what the cluster was asked for") && ok
		} else {
			ok = assert.Equal(t, whole.servers, d.servers, what+"what was done to the servers")
		}
		ok = assert.Empty(t, differing(whole.files, d.files), what+"what was done to files") && ok
		ok = assert.Empty(t, differing(whole.end, end), what+"how it was left") && ok
		if !ok {
			row.differences++
			t.Logf("killed after:\n%s\nstopped after:\n%s", strings.Join(d.kills, "\n"), strings.Join(d.stops, "\n"))
		}
	}
}

// disturbed says whether something has befallen the cluster that nobody did to it. What is told to a leader is gone with
// its lead, and what a server that is called dead has served is served by others: what the playbook has to do is not
// what it is in a quiet life. It is judged by what must hold all the same.
func (d deeds) disturbed() bool { return d.chance.lapses+d.chance.deaths > 0 }

// endUnder is how the cluster was left, with the settings that are right where a level that was set before the playbook
// began was lost before the playbook could see it: the level that servers start with.
func (d deeds) endUnder(settings string) map[string]string {
	end := maps.Clone(d.end)
	_, rest, _ := strings.Cut(settings, " ")
	if d.chance.levelLost && end["settings"] == "steady "+rest {
		end["settings"] = settings
	}
	return end
}

// owned is what was done to each server itself: starts, stops, closing its partitions, bringing them to the disk.
func (d deeds) owned() map[string][]string {
	all := map[string][]string{}
	for _, line := range d.servers {
		if host, what, _ := strings.Cut(line, ": "); host != "cluster" {
			all[host] = append(all[host], what)
		}
	}
	return all
}

// asked is what the cluster was asked for that does not depend on who serves what, and who leads: settings whose value
// nobody can ask for, and requests.
func (d deeds) asked() map[string][]string {
	all := map[string][]string{}
	for _, line := range d.servers {
		what, of := strings.CutPrefix(line, "cluster: ")
		if of && (strings.HasPrefix(what, "request ") || strings.HasPrefix(what, "command ")) {
			all["cluster"] = append(all["cluster"], what)
		}
	}
	return all
}

// missing lists what was not done that is wanted, in order; and unless more may be done, what was.
func missing(wanted, got map[string][]string, more bool) []string {
	if !more {
		return differing(wanted, got)
	}
	var all []string
	for host, list := range wanted {
		rest := got[host]
		for _, what := range list {
			i := slices.Index(rest, what)
			if i < 0 {
				all = append(all, fmt.Sprintf("%s: %s was not done", host, what))
				continue
			}
			rest = rest[i+1:]
		}
	}
	slices.Sort(all)
	return all
}

// differing lists the entries in which two mappings differ.
func differing[V any](wanted, got map[string]V) []string {
	var all []string
	for name := range wanted {
		if w, g := fmt.Sprint(wanted[name]), fmt.Sprint(got[name]); w != g {
			all = append(all, fmt.Sprintf("%s: %s instead of %s", name, g, w))
		}
	}
	for name, g := range got {
		if _, has := wanted[name]; !has {
			all = append(all, fmt.Sprintf("%s: %v instead of nothing", name, g))
		}
	}
	slices.Sort(all)
	return all
}

func (k *killTable) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-26s %6s %5s %7s %5s %5s %9s %5s %11s\n", "playbook, killed", "events", "files", "servers", "lives", "kills", "disturbed", "stops", "differences")
	for _, how := range []string{"at events", "at moments", lapsing} {
		for i, s := range k.stages {
			if row := k.rows[s.book+" "+how]; row != nil {
				w := k.whole[i]
				fmt.Fprintf(&b, "%-26s %6d %5d %7d %5d %5d %9d %5d %11d\n", s.book+" "+how, w.boundaries, changesOf(w.files), len(w.servers), row.lives, row.kills, row.disturbed, row.stops, row.differences)
			}
		}
	}
	return b.String()
}

func changesOf(files map[string][]string) int {
	n := 0
	for _, states := range files {
		n += len(states)
	}
	return n
}
