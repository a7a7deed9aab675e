package config

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Sim is the [simulator] section with all that was laid over it: how long
// simulated work takes, and how the process misbehaves. A value is never
// changed; Config.Sim gives the present one. Durations are production time and
// scaled like all others.
type Sim struct {
	CrashAtStart     bool       // abort before the port is open
	Hung             bool       // take requests and answer none
	LoseHeartbeats   bool       // send no beacons
	ClosingNeverEnds bool       // killed replicas stay in closing
	Resign           bool       // a leader gives the lead up and does not take it again
	DiskFull         bool       // nothing more can be written
	BackupFails      bool       // no backup and no restore comes to an end
	Stuck            Partitions // their primaries ignore proposals
	LearningFails    Partitions // they cannot be copied to this server
	TwoCopies        Partitions // the guardian gives them no third copy

	LoadTotal           time.Duration // loading replicas takes at least this
	LoadReplica         time.Duration // and this for each
	Learn               time.Duration // copying one replica
	Close               time.Duration // flushing one killed replica
	Start               time.Duration // port open → handlers there
	Stop                time.Duration // SIGTERM → gone
	DDL                 time.Duration // a table is CREATING, DROPPING or RECALLING
	Backup              time.Duration // backing a table up, or restoring one
	ReplicaMB           int64         // size of a replica, which copying it at a rate takes time for
	SessionTimeoutLeast time.Duration // floor of the ZooKeeper session, not scaled
}

// Partitions are some partitions, "1.0,2.3", or with "all" every one.
type Partitions struct {
	all  bool
	some map[string]bool
}

// Has tells whether pid, as "2.3", is among them.
func (p Partitions) Has(pid string) bool { return p.all || p.some[pid] }

func readPartitions(list string) Partitions {
	p := Partitions{some: map[string]bool{}}
	for _, item := range split(list) {
		p.all = p.all || item == "all" || item == "true"
		p.some[item] = true
	}
	return p
}

// Layers of settings; a higher one beats a lower one.
const (
	layerFile    = iota // [simulator]
	layerEnv            // the environment
	layerControl        // the control file
	layerCommand        // remote commands
	layers
)

// faults are the settings of the simulator, which change while it runs.
type faults struct {
	mu      sync.Mutex // guards layers, changed
	layers  [layers]map[string]string
	changed chan struct{} // closed when now is replaced
	now     atomic.Pointer[Sim]
}

// Sim is how the process behaves at present.
func (c *Config) Sim() *Sim { return c.faults.now.Load() }

// simKeys are the settings with what is usual; durations are milliseconds.
func simKeys() map[string]string {
	return map[string]string{
		"crash_at_start": "false", "hung": "false", "lose_heartbeats": "false", "closing_never_ends": "false",
		"resign": "false", "disk_full": "false", "backup_fails": "false",
		"stuck_partitions": "", "learning_fails": "", "two_copies": "",
		"load_ms": "0", "load_replica_ms": "20", "learn_ms": "1000", "close_ms": "2000", "start_ms": "400", "stop_ms": "1000",
		"ddl_ms": "200", "backup_ms": "20000", "zk_session_least_ms": "1000", "replica_mb": "0",
	}
}

// FaultNames are the settings that SetFault takes.
func FaultNames() []string { return slices.Sorted(maps.Keys(simKeys())) }

// ParseFaults reads "key = value" lines, or items between semicolons; a key
// alone means true. A setting that there is not is an error: a fault that does
// not happen makes a test say nothing.
func ParseFaults(text string) (map[string]string, error) {
	known, out := simKeys(), map[string]string{}
	for _, item := range strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == ';' }) {
		item = strings.TrimSpace(item)
		if item == "" || item[0] == '#' {
			continue
		}
		key, value, given := strings.Cut(item, "=")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		if !given {
			value = "true"
		}
		usual, ok := known[key]
		switch {
		case !ok:
			return nil, fmt.Errorf("simulator: there is no setting %q; there are %s", key, strings.Join(FaultNames(), ", "))
		case usual == "true" || usual == "false":
			if value != "true" && value != "false" {
				return nil, fmt.Errorf("simulator: %s = %q: give true or false", key, value)
			}
		case usual != "":
			if n, err := strconv.ParseInt(value, 10, 64); err != nil || n < 0 {
				return nil, fmt.Errorf("simulator: %s = %q: give a whole number", key, value)
			}
		}
		out[key] = value
	}
	return out, nil
}

// SetFaults lays text over the settings as the remote command sim.fault does:
// what was set by command before stays, "clear" forgets it.
func (c *Config) SetFaults(text string) error {
	if text == "clear" {
		c.lay(layerCommand, nil)
		return nil
	}
	more, err := ParseFaults(text)
	if err != nil {
		return err
	}
	c.faults.mu.Lock()
	next := maps.Clone(c.faults.layers[layerCommand])
	c.faults.mu.Unlock()
	if next == nil {
		next = map[string]string{}
	}
	maps.Copy(next, more)
	c.lay(layerCommand, next)
	return nil
}

// Faults are the settings that differ from what is usual.
func (c *Config) Faults() string {
	c.faults.mu.Lock()
	defer c.faults.mu.Unlock()
	usual, merged := simKeys(), map[string]string{}
	for _, l := range c.faults.layers {
		maps.Copy(merged, l)
	}
	var out []string
	for _, key := range slices.Sorted(maps.Keys(merged)) {
		if u, ok := usual[key]; ok && merged[key] != u {
			out = append(out, key+"="+merged[key])
		}
	}
	return strings.Join(out, ";")
}

// Control is the control file: whoever tests a process that runs elsewhere
// writes settings to it, and takes them away by removing it.
type Control struct {
	c    *Config
	path string
	seen os.FileInfo
}

// Lay sets what the environment says and takes the control file for the first
// time.
func (c *Config) Lay(env, path string) (*Control, error) {
	k := &Control{c: c, path: path}
	m, err := ParseFaults(env)
	if err != nil {
		return k, err
	}
	c.lay(layerEnv, m)
	_, err = k.Look()
	return k, err
}

// Look takes the control file when it has changed.
func (k *Control) Look() (changed bool, err error) {
	now, err := os.Stat(k.path)
	if err != nil {
		now = nil // without the file there is nothing to lay
	}
	if now == nil && k.seen == nil || now != nil && k.seen != nil && os.SameFile(now, k.seen) &&
		now.ModTime().Equal(k.seen.ModTime()) && now.Size() == k.seen.Size() {
		return false, nil
	}
	k.seen = now
	if now == nil {
		k.c.lay(layerControl, nil)
		return true, nil
	}
	raw, err := os.ReadFile(k.path)
	if err != nil {
		return false, err
	}
	m, err := ParseFaults(string(raw))
	if err != nil {
		return false, fmt.Errorf("%s: %w", k.path, err)
	}
	k.c.lay(layerControl, m)
	return true, nil
}

// lookEvery is how often the control file is looked at where nothing tells of
// changes; that wakes an idle server more than all else it does.
const lookEvery = 100 * time.Millisecond

// watchAgain is how long until another try to be told of changes: the folder may
// not have been there.
const watchAgain = 10 * time.Second

// Watch has the control file taken up when it changes, until ctx is done. taken
// hears what Look says.
func (k *Control) Watch(ctx context.Context, taken func(changed bool, err error)) {
	look := func() { taken(k.Look()) }
	for ctx.Err() == nil {
		if watch(ctx, k.path, look) == nil {
			return
		}
		for since := time.Now(); ctx.Err() == nil && time.Since(since) < watchAgain; {
			t := time.NewTimer(lookEvery)
			select {
			case <-ctx.Done():
			case <-t.C:
				look()
			}
			t.Stop()
		}
	}
}

// Changed is closed at the next change of the settings.
func (c *Config) Changed() <-chan struct{} {
	c.faults.mu.Lock()
	defer c.faults.mu.Unlock()
	return c.faults.changed
}

// lay replaces one layer and makes the settings anew.
func (c *Config) lay(layer int, m map[string]string) {
	f := &c.faults
	f.mu.Lock()
	defer f.mu.Unlock()
	f.layers[layer] = m
	merged := ini{"simulator": simKeys()}
	for _, l := range f.layers {
		maps.Copy(merged["simulator"], l)
	}
	f.now.Store(merged.sim())
	if f.changed != nil {
		close(f.changed)
	}
	f.changed = make(chan struct{})
}

func (f ini) sim() *Sim {
	on := func(key string) bool { return f.truth("simulator", key, false) }
	some := func(key string) Partitions { return readPartitions(f.text("simulator", key, "")) }
	ms := func(key string) time.Duration {
		return time.Duration(f.number("simulator", key, 0)) * time.Millisecond
	}
	return &Sim{
		CrashAtStart: on("crash_at_start"), Hung: on("hung"), LoseHeartbeats: on("lose_heartbeats"),
		ClosingNeverEnds: on("closing_never_ends"), Resign: on("resign"), DiskFull: on("disk_full"), BackupFails: on("backup_fails"),
		Stuck: some("stuck_partitions"), LearningFails: some("learning_fails"), TwoCopies: some("two_copies"),
		LoadTotal: ms("load_ms"), LoadReplica: ms("load_replica_ms"), Learn: ms("learn_ms"), Close: ms("close_ms"),
		Start: ms("start_ms"), Stop: ms("stop_ms"), DDL: ms("ddl_ms"), Backup: ms("backup_ms"),
		ReplicaMB:           f.number("simulator", "replica_mb", 0),
		SessionTimeoutLeast: ms("zk_session_least_ms"),
	}
}
