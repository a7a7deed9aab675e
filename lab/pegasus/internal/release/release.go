// Package release knows what releases of Pegasus differ in, as far as tools see
// it (facts/pegasus.md §11.7).
package release

import (
	"fmt"
	"strings"
)

// Release is a version by its first two numbers, 2.5 being 205. The zero value
// is one that says nothing, and is taken for 2.5.
type Release int

// Releases between which something changed.
const (
	R20 Release = 200
	R21 Release = 201
	R22 Release = 202
	R23 Release = 203
	R24 Release = 204
	R25 Release = 205
	R26 Release = 206
)

// Parse reads "2.5.0" or "2.6.0-SNAPSHOT"; what it cannot read is 2.5.
func Parse(version string) Release {
	var major, minor int
	if n, _ := fmt.Sscanf(version, "%d.%d", &major, &minor); n != 2 {
		return R25
	}
	return Release(100*major + minor)
}

// Upgradable is the error of a server of release to that finds data of version
// from, "" for none; graceful is that no write is left in a shared log
// (facts/pegasus.md §6.6).
func Upgradable(from string, to Release, graceful bool) string {
	if from == "" {
		return ""
	}
	was := Parse(from)
	switch {
	case to >= R21 && was < R20:
		return "assertion expression: [!missing_meta_cf] You must upgrade Pegasus server from 2.0"
	case to >= R21 && was == R20 && !graceful:
		return "assertion expression: [data_version] replicas of 2.0 were not closed gracefully before the upgrade"
	case to >= R26 && was < R25:
		return "assertion expression: the data is of " + from + ", make sure you are upgrading from 2.5.0"
	case to < R26 && was >= R26:
		return "assertion expression: the data is of " + from + " and cannot be read by an older release"
	}
	return ""
}

// StandbyRedirects is what a meta that does not lead does with GET /meta/…: 2.4 and 2.5
// answer from their empty state, and crash on /meta/cluster.
func (r Release) StandbyRedirects() bool { return r != R24 && r != R25 }

// Has tells whether r has a remote command of release 2.5.
func (r Release) Has(command string) bool {
	since := map[string]Release{"meta.lb.ignored_app_list": R21, "task.queue_max_length": R24}[command]
	return r >= since
}

// Rates are the names of the limits of copying between servers; "" is none.
func (r Release) Rates() (copyRate, sendRate string) {
	switch {
	case r >= R24:
		return "nfs.max_copy_rate_megabytes_per_disk", "nfs.max_send_rate_megabytes_per_disk"
	case r == R23:
		return "nfs.max_copy_rate_megabytes", "nfs.max_send_rate_megabytes"
	case r >= R21:
		return "nfs.max_copy_rate_megabytes", ""
	}
	return "replica.nfs.max_copy_rate_megabytes", ""
}

// Letter is the level that ordinary lines of the log have.
func (r Release) Letter(level byte) byte {
	if level == 'I' && r < R25 {
		return 'D'
	}
	return level
}

// HasPath tells of the HTTP calls that not all releases have.
func (r Release) HasPath(path string) bool {
	switch path {
	case "/config", "/configs", "/updateConfig", "/replica/data_version", "/replica/manual_compaction":
		return r >= R22
	case "/perfCounter":
		return r < R26
	case "/metrics":
		return r >= R26
	}
	return !strings.HasPrefix(path, "/meta/app/start_compaction") || r >= R22
}
