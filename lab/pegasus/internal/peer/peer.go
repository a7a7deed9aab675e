// Package peer is how simulated servers talk among themselves: beacons by
// datagram, everything else by framed JSON over TCP. The real servers use
// thrift structures of their own here which no tool ever sees, so only the
// effects are modelled (facts/pegasus.md §8), not the bytes.
//
// A connection starts with Magic, so that it can share the port with the
// public protocols; then each message is a big-endian uint32 length and JSON.
package peer

import (
	"encoding/json"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
)

// Magic opens a TCP connection of this protocol and every datagram.
const Magic = "SIMP"

// Addr is the address of a server; the zero value is "nobody".
type Addr = netip.AddrPort

// GPID names a partition.
type GPID struct {
	App  int32 `json:"app_id"`
	Pidx int32 `json:"pidx"`
}

func (g GPID) String() string {
	return strconv.Itoa(int(g.App)) + "." + strconv.Itoa(int(g.Pidx))
}

// ParseGPID reads "2.3". ok is false for anything else.
func ParseGPID(s string) (g GPID, ok bool) {
	a, p, found := strings.Cut(s, ".")
	app, err1 := strconv.ParseInt(a, 10, 32)
	pidx, err2 := strconv.ParseInt(p, 10, 32)
	return GPID{int32(app), int32(pidx)}, found && err1 == nil && err2 == nil
}

// Config is who serves a partition. It is also the JSON kept in ZooKeeper.
type Config struct {
	PID         GPID   `json:"pid"`
	Ballot      int64  `json:"ballot"`
	MaxReplicas int32  `json:"max_replica_count"`
	Primary     Addr   `json:"primary"`
	Secondaries []Addr `json:"secondaries"`
	LastDrops   []Addr `json:"last_drops"`
	Committed   int64  `json:"last_committed_decree"`
	Flags       int32  `json:"partition_flags"`
}

// Replicas is the number of members.
func (c *Config) Replicas() int {
	n := len(c.Secondaries)
	if c.Primary.IsValid() {
		n++
	}
	return n
}

// IsSecondary tells whether a serves c as a secondary.
func (c *Config) IsSecondary(a Addr) bool { return index(c.Secondaries, a) >= 0 }

// IsMember tells whether a serves c as primary or secondary.
func (c *Config) IsMember(a Addr) bool { return c.Primary == a || c.IsSecondary(a) }

// Clone is a copy that shares nothing.
func (c Config) Clone() Config {
	c.Secondaries = append([]Addr{}, c.Secondaries...)
	c.LastDrops = append([]Addr{}, c.LastDrops...)
	return c
}

// Without returns list without a.
func Without(list []Addr, a Addr) []Addr {
	out := make([]Addr, 0, len(list))
	for _, x := range list {
		if x != a {
			out = append(out, x)
		}
	}
	return out
}

func index(list []Addr, a Addr) int {
	for i, x := range list {
		if x == a {
			return i
		}
	}
	return -1
}

// Change is a kind of reconfiguration; the numbers are the real config_type.
type Change int32

// The kinds of change (facts/pegasus.md §5.7).
const (
	Invalid              Change = 0
	AssignPrimary        Change = 1
	UpgradeToPrimary     Change = 2
	AddSecondary         Change = 3
	UpgradeToSecondary   Change = 4
	DowngradeToSecondary Change = 5
	DowngradeToInactive  Change = 6
	Remove               Change = 7
	AddSecondaryForLB    Change = 8
	ForceUpdateBallot    Change = 9
)

func (c Change) String() string {
	names := [...]string{"CT_INVALID", "CT_ASSIGN_PRIMARY", "CT_UPGRADE_TO_PRIMARY", "CT_ADD_SECONDARY",
		"CT_UPGRADE_TO_SECONDARY", "CT_DOWNGRADE_TO_SECONDARY", "CT_DOWNGRADE_TO_INACTIVE", "CT_REMOVE",
		"CT_ADD_SECONDARY_FOR_LB", "CT_PRIMARY_FORCE_UPDATE_BALLOT"}
	if c < 0 || int(c) >= len(names) {
		return "CT_" + strconv.Itoa(int(c))
	}
	return names[c]
}

// Beacon is what a replica server says to a meta every few seconds.
type Beacon struct {
	From  Addr
	Start int64  // start time of the process, unix ms
	Sent  int64  // unix ns, echoed
	Host  string `json:",omitempty"` // since 2.6: its host name
}

// BeaconAck is the answer.
type BeaconAck struct {
	From    Addr
	Sent    int64
	Master  bool // the answering meta leads
	Allowed bool
	Leader  Addr // who leads, if known
}

// Table is what a replica server needs to know of a table.
type Table struct {
	ID         int32
	Name       string
	Partitions int32
	Replicas   int32
	Envs       map[string]string `json:",omitempty"`
}

// Stored is a replica a server has on disk.
type Stored struct {
	PID    GPID
	Ballot int64
	Decree int64
}

// ConfigSync is a replica server's regular report to the leader.
type ConfigSync struct {
	Node   Addr
	Stored []Stored
}

// ConfigSyncReply tells a replica server what the meta has it serve, and which
// stored replicas belong to dropped tables.
type ConfigSyncReply struct {
	Err     string
	Serve   []Assignment
	Garbage []GPID
}

// Assignment is a partition with the table it belongs to.
type Assignment struct {
	Table  Table
	Config Config
}

// Proposal asks a replica server (the target) to bring a change about.
type Proposal struct {
	Table  Table
	Config Config
	Type   Change
	Node   Addr
	// Restore is the backup that a new partition gets its contents from.
	Restore string `json:",omitempty"`
	// Host is the node's name as whoever proposed it gave it, "" for none; a server
	// since 2.6 aborts on one that is not its own (facts/pegasus.md §8.12).
	Host string `json:",omitempty"`
}

// Update asks the leader to record a change; Config.Ballot is the ballot the
// change is based on.
type Update struct {
	Config Config
	Type   Change
	Node   Addr
	From   Addr
}

// UpdateReply carries the configuration after the change, or the present one
// with an error.
type UpdateReply struct {
	Err    string
	Config Config
}

// Prepare replicates one write from a primary.
type Prepare struct {
	Config Config
	Decree int64
	Op     Op
}

// Op is one write. Delete removes Key.
type Op struct {
	Key    []byte `json:"k"`
	Value  []byte `json:"v,omitempty"`
	Expire int32  `json:"e,omitempty"`
	Delete bool   `json:"d,omitempty"`
}

// Lesson is a primary's state, sent to a new member.
type Lesson struct {
	PID    GPID
	Decree int64
	Ballot int64
	Ops    []Op
}

// BackupRequest has a primary write its contents to a folder.
type BackupRequest struct {
	PID GPID
	Dir string
}

// BackupPath is a partition's file in a backup.
func BackupPath(dir string, pidx int32) string {
	return filepath.Join(dir, strconv.Itoa(int(pidx))+".json")
}

// InventoryRequest asks a replica server for all that it holds.
type InventoryRequest struct{}

// Inventory is what a replica server holds.
type Inventory struct {
	Tables   []Table
	Replicas []Stored
}

// GroupCheck tells a secondary what the group is now.
type GroupCheck struct {
	Table  Table
	Config Config
}

// Reply is the answer to messages that have none but an error name.
type Reply struct{ Err string }

// envelope is one message on a connection.
type envelope struct {
	ID   uint64          `json:"i"`
	Kind string          `json:"k,omitempty"`
	Body json.RawMessage `json:"b"`
}
