package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/pegbook/pegbook/lab"
)

// leak is something that was measured after each of many runs.
type leak struct {
	Of   string `json:"of"`
	What string `json:"what"`
	// First and Last are medians of the first and last quarter, Slope is by how much it grows a run.
	First float64 `json:"first"`
	Last  float64 `json:"last"`
	Slope float64 `json:"slope"`
	Runs  int     `json:"runs"`
	// most is the slope from which on it is a leak.
	most  float64
	bytes bool
}

// leaks says whether it grows.
func (l leak) leaks() bool { return l.Runs >= enough && l.Slope > l.most }

// enough is how many runs tell a slope.
const enough = 12

func leakHeadings() []string {
	return []string{"of", "what", "runs", "at first", "in the end", "slope a run", "at most", ""}
}

func (l leak) unit(v float64) string {
	if l.bytes {
		return fmt.Sprintf("%.1f KiB", v/1024)
	}
	return fmt.Sprintf("%.3g", v)
}

func (l leak) columns() []string {
	verdict := "ok"
	switch {
	case l.leaks():
		verdict = "LEAK"
	case l.Runs < enough:
		verdict = "too few runs"
	}
	return []string{l.Of, l.What, fmt.Sprint(l.Runs), l.unit(l.First), l.unit(l.Last), l.unit(l.Slope), l.unit(l.most), verdict}
}

// trend makes a leak of what was measured. The slope is the median of those between all pairs of runs (Theil and Sen):
// a single high value, as memory has, does not move it.
func trend(of, what string, values []float64, most float64, bytes bool) leak {
	l := leak{Of: of, What: what, Runs: len(values), most: most, bytes: bytes}
	if len(values) == 0 {
		return l
	}
	quarter := max(1, len(values)/4)
	l.First, l.Last = median(values[:quarter]), median(values[len(values)-quarter:])
	var slopes []float64
	for i := range values {
		for j := i + 1; j < len(values); j++ {
			slopes = append(slopes, (values[j]-values[i])/float64(j-i))
		}
	}
	if len(slopes) > 0 {
		l.Slope = median(slopes)
	}
	return l
}

// series is how the long-living processes of a lane are, run after run.
type series struct {
	Lane int `json:"lane"`
	// FDs and RSS are of the lab's process, which is every host's sshd and ZooKeeper; Servers is how many descriptors
	// a simulated server has, of the one that has most.
	FDs     []float64 `json:"lab_descriptors"`
	RSS     []float64 `json:"lab_rss"`
	Servers []float64 `json:"server_descriptors"`
}

func newSeries(index int) *series { return &series{Lane: index} }

// measure adds how they are now.
func (l *lane) measure(ctx context.Context) {
	report, err := lab.Status(ctx, l.labDir())
	if err != nil || report.PID == 0 {
		return // the next run tells
	}
	most := 0
	for _, h := range report.Hosts {
		for _, p := range h.Processes {
			if p.Role != "" {
				most = max(most, descriptors(p.PID))
			}
		}
	}
	l.long.FDs = append(l.long.FDs, float64(descriptors(report.PID)))
	l.long.RSS = append(l.long.RSS, float64(resident(report.PID)))
	l.long.Servers = append(l.long.Servers, float64(most))
}

func (s *series) leaks() []leak {
	of := fmt.Sprintf("lab %d", s.Lane+1)
	return []leak{
		trend(of+": its process", "descriptors", s.FDs, 0.1, false),
		trend(of+": its process", "memory (RSS)", s.RSS, 128<<10, true),
		trend(of+": a server, the most", "descriptors", s.Servers, 0.1, false),
	}
}

// descriptors is how many descriptors a process has open.
func descriptors(pid int) int {
	entries, _ := os.ReadDir(filepath.Join("/proc", strconv.Itoa(pid), "fd")) // it has ended: none
	return len(entries)
}

// resident is how much memory a process has.
func resident(pid int) int64 {
	text, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "statm")) // it has ended: none
	words := strings.Fields(string(text))
	if len(words) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(words[1], 10, 64) //nolint:errcheck // the kernel writes numbers
	return pages * int64(os.Getpagesize())
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
