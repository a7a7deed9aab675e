package config

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"time"
)

// Config is what a process was told. Durations are as in the file (production
// time); Scaled turns one into the time the simulator waits.
type Config struct {
	Path        string
	ClusterName string
	AppDir      string // [core] data_dir; logs are in AppDir/log
	Interface   string // [network] primary_interface
	Address     string // explicit address of this host; "" means: find it
	Ports       map[string]int

	ServerList string // [meta_server] server_list as written
	Metas      []netip.AddrPort
	ClusterRoot,
	LockRoot,
	ZooKeeper string
	ZKTimeout time.Duration
	Tables    []Table

	LevelOnStart       string
	LivePercentage     int64
	MinLiveNodes       int64
	FlowControl        bool
	AddSecondaryMax    int64
	AssignDelayMS      int64
	StableRunning      time.Duration
	MaxUnstableRestart int
	HoldDropped        time.Duration
	BalanceInterval    time.Duration
	WhiteList          []string // nodes that may join; none is all
	Recover            bool     // make the tables out of what replica servers hold
	NoBackups          bool     // cold_backup_disabled
	BackupRoot         string   // first folder of backups

	DataDirs       []DataDir
	CheckInterval  time.Duration
	Beacon         time.Duration
	Lease          time.Duration
	Grace          time.Duration
	ConfigSync     time.Duration
	PrepareTimeout time.Duration
	GCMemory       time.Duration
	GroupCheck     time.Duration
	MinReplicas2PC int
	LearnAtOnce    int
	CounterRefresh time.Duration

	faults faults // see Sim
	scale  float64
	file   ini
}

// Table is a default table, made when the cluster starts for the first time.
type Table struct {
	Name       string
	Partitions int
	Replicas   int
}

// DataDir is one disk of a replica server.
type DataDir struct{ Tag, Dir string }

// Load reads the file. scaleOverride, when not "", replaces time_scale.
// A file that cannot be parsed is a *LoadError.
func Load(path, scaleOverride string) (*Config, error) {
	f, err := readINI(path)
	if err != nil {
		return nil, err
	}
	c := &Config{Path: path, file: f, scale: 1}
	for _, s := range []string{f.text("simulator", "time_scale", ""), scaleOverride} {
		if v, err := strconv.ParseFloat(s, 64); err == nil && v > 0 {
			c.scale = v
		}
	}
	c.readHost()
	c.readMeta()
	c.readReplica()
	c.readSim()
	return c, nil
}

// Scaled is d on the simulator's clock.
func (c *Config) Scaled(d time.Duration) time.Duration {
	return time.Duration(float64(d) * c.scale)
}

// Scale is the simulator's clock: 1 is production time, 0.1 ten times as fast.
func (c *Config) Scale() float64 { return c.scale }

// Value is a key as written, for the HTTP /config call.
func (c *Config) Value(key string) (string, bool) {
	sections := make([]string, 0, len(c.file))
	for s := range c.file {
		sections = append(sections, s)
	}
	sort.Strings(sections)
	for _, s := range sections {
		if v, ok := c.file[s][key]; ok {
			return v, true
		}
	}
	return "", false
}

func (c *Config) seconds(section, key string, fallback int64) time.Duration {
	return time.Duration(c.file.number(section, key, fallback)) * time.Second
}

func (c *Config) millis(section, key string, fallback int64) time.Duration {
	return time.Duration(c.file.number(section, key, fallback)) * time.Millisecond
}

func (c *Config) readHost() {
	f := c.file
	c.ClusterName = f.text("replication", "cluster_name", "")
	c.AppDir = f.text("core", "data_dir", "./data")
	c.Interface = f.text("network", "primary_interface", "")
	c.Address = f.text("network", "explicit_host_address", f.text("simulator", "address", ""))
	c.Ports = map[string]int{}
	for role, port := range map[string]int64{"meta": 34601, "replica": 34801, "collector": 34101} {
		c.Ports[role] = int(f.number("apps."+role, "ports", port))
	}
	c.CounterRefresh = c.seconds("pegasus.server", "perf_counter_update_interval_seconds", 10)
}

func (c *Config) readMeta() {
	f := c.file
	c.ServerList = f.text("meta_server", "server_list", "")
	c.ClusterRoot = f.text("meta_server", "cluster_root", "/")
	c.LockRoot = f.text("meta_server", "distributed_lock_service_parameters", c.ClusterRoot+"/lock")
	c.ZooKeeper = f.text("zookeeper", "hosts_list", "")
	c.ZKTimeout = c.millis("zookeeper", "timeout_ms", 30000)
	c.LevelOnStart = f.text("meta_server", "meta_function_level_on_start", "steady")
	c.LivePercentage = f.number("meta_server", "node_live_percentage_threshold_for_update", 65)
	c.MinLiveNodes = f.number("meta_server", "min_live_node_count_for_unfreeze", 3)
	c.FlowControl = f.truth("meta_server", "add_secondary_enable_flow_control", false)
	c.AddSecondaryMax = f.number("meta_server", "add_secondary_max_count_for_one_node", 10)
	c.AssignDelayMS = f.number("meta_server", "replica_assign_delay_ms_for_dropouts", 300000)
	c.StableRunning = c.seconds("meta_server", "stable_rs_min_running_seconds", 600)
	c.MaxUnstableRestart = int(f.number("meta_server", "max_succssive_unstable_restart", 5))
	c.HoldDropped = c.seconds("meta_server", "hold_seconds_for_dropped_app", 604800)
	c.BalanceInterval = c.millis("replication", "lb_interval_ms", 10000)
	if f.truth("meta_server", "enable_white_list", false) {
		c.WhiteList = append(split(f.text("meta_server", "replica_white_list", "")), "") // not empty: it is in force
	}
	c.Recover = f.truth("meta_server", "recover_from_replica_server", false)
	c.NoBackups = f.truth("meta_server", "cold_backup_disabled", false)
	c.BackupRoot = f.text("replication", "cold_backup_root", c.ClusterName)
	c.readTables()
}

// BlockService is the folder in which a provider keeps its files; ok is false
// for one that [block_service.…] does not name. local_service needs no section.
// All servers must see the same folder there.
func (c *Config) BlockService(provider string) (dir string, ok bool) {
	section := "block_service." + provider
	if _, ok := c.file[section]; !ok && provider != "local_service" {
		return "", false
	}
	if args := strings.Fields(c.file.text(section, "args", "")); len(args) > 0 {
		return args[len(args)-1], true
	}
	return filepath.Join(c.AppDir, "block_service", provider), true
}

func (c *Config) readTables() {
	var names []string
	for s := range c.file {
		if strings.HasPrefix(s, "meta_server.apps.") {
			names = append(names, s)
		}
	}
	sort.Strings(names)
	for _, s := range names {
		c.Tables = append(c.Tables, Table{
			Name:       c.file.text(s, "app_name", strings.TrimPrefix(s, "meta_server.apps.")),
			Partitions: int(c.file.number(s, "partition_count", 1)),
			Replicas:   int(c.file.number(s, "max_replica_count", 3)),
		})
	}
}

func (c *Config) readReplica() {
	f := c.file
	c.CheckInterval = c.seconds("replication", "fd_check_interval_seconds", 2)
	c.Beacon = c.seconds("replication", "fd_beacon_interval_seconds", 3)
	c.Lease = c.seconds("replication", "fd_lease_seconds", 9)
	c.Grace = c.seconds("replication", "fd_grace_seconds", 10)
	c.ConfigSync = c.millis("replication", "config_sync_interval_ms", 30000)
	c.PrepareTimeout = c.millis("replication", "prepare_timeout_ms_for_secondaries", 1000)
	c.GCMemory = c.millis("replication", "gc_memory_replica_interval_ms", 600000)
	c.GroupCheck = c.millis("replication", "group_check_interval_ms", 10000)
	c.MinReplicas2PC = int(f.number("replication", "mutation_2pc_min_replica_count", 2))
	c.LearnAtOnce = int(f.number("replication", "learn_app_max_concurrent_count", 5))
}

// readSim takes [simulator] as the lowest layer; time_scale and address are not
// among its settings.
func (c *Config) readSim() { c.lay(layerFile, c.file["simulator"]) }

// ParseMetas checks server_list and returns it. The error is the text of the
// server's assertion.
func (c *Config) ParseMetas() ([]netip.AddrPort, error) {
	var metas []netip.AddrPort
	for _, item := range split(c.ServerList) {
		addr, err := netip.ParseAddrPort(item)
		if err != nil {
			return nil, fmt.Errorf("assertion expression: [2 == hostname_port.size()] %d vs 1 "+
				"invalid address '%s' specified in config [meta_server].server_list", 2, item)
		}
		metas = append(metas, addr)
	}
	c.Metas = metas
	return metas, nil
}

// ParseDataDirs checks data_dirs. role names the default directory when the
// list is empty. The error is the text of the server's assertion.
func (c *Config) ParseDataDirs(role string) ([]DataDir, error) {
	items := split(c.file.text("replication", "data_dirs", ""))
	if len(items) == 0 {
		c.DataDirs = []DataDir{{"default", filepath.Join(c.AppDir, role)}}
		return c.DataDirs, nil
	}
	var dirs []DataDir
	seen := map[string]bool{}
	for _, item := range items {
		tag, dir, ok := strings.Cut(item, ":")
		if !ok || tag == "" || dir == "" || strings.Contains(dir, ":") {
			return nil, fmt.Errorf("assertion expression: invalid data_dir item(%s) in config", item)
		}
		dir = filepath.Clean(dir)
		if seen["tag "+tag] || seen["dir "+dir] {
			return nil, fmt.Errorf("assertion expression: dir(%s) and tag(%s): dup in config", dir, tag)
		}
		seen["tag "+tag], seen["dir "+dir] = true, true
		dirs = append(dirs, DataDir{tag, filepath.Join(dir, role)})
	}
	c.DataDirs = dirs
	return dirs, nil
}

// BlackListFile names the file of disks to ignore.
func (c *Config) BlackListFile() string {
	return c.file.text("replication", "data_dirs_black_list_file", "/home/work/.pegasus_data_dirs_black_list")
}

// SlogDir is where the shared log would be.
func (c *Config) SlogDir() string {
	return filepath.Join(c.file.text("replication", "slog_dir", c.AppDir), "replica", "slog")
}

func split(list string) []string {
	var out []string
	for _, s := range strings.Split(list, ",") {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}
