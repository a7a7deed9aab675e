package wire

import (
	"fmt"
	"strings"
)

// AppStatus is the state of a table.
type AppStatus int32

// States of a table. AppAny, in a query, is all of them.
const (
	AppAny       AppStatus = 0
	AppAvailable AppStatus = 1
	AppCreating  AppStatus = 2
	AppDropping  AppStatus = 4
	AppDropped   AppStatus = 6
	AppRecalling AppStatus = 7
)

// String is the name as the Pegasus shell prints it.
func (s AppStatus) String() string {
	names := []string{"INVALID", "AVAILABLE", "CREATING", "CREATE_FAILED", "DROPPING", "DROP_FAILED", "DROPPED", "RECALLING"}
	if s < 0 || int(s) >= len(names) {
		return fmt.Sprintf("STATUS_%d", int32(s))
	}
	return names[s]
}

// NodeStatus is whether the meta server hears a node.
type NodeStatus int32

// States of a node. NodeAny, in a query, is both.
const (
	NodeAny     NodeStatus = 0
	NodeAlive   NodeStatus = 1
	NodeUnalive NodeStatus = 2
)

// String is the name as the Pegasus shell prints it.
func (s NodeStatus) String() string {
	switch s {
	case NodeAlive:
		return "ALIVE"
	case NodeUnalive:
		return "UNALIVE"
	}
	return "INVALID"
}

// ConfigType is what a proposal does with a replica.
type ConfigType int32

// Proposals.
const (
	AssignPrimary        ConfigType = 1
	UpgradeToPrimary     ConfigType = 2
	AddSecondary         ConfigType = 3
	UpgradeToSecondary   ConfigType = 4
	DowngradeToSecondary ConfigType = 5
	DowngradeToInactive  ConfigType = 6
	RemoveReplica        ConfigType = 7
	AddSecondaryForLB    ConfigType = 8
)

func configTypeNames() []string {
	return []string{"INVALID", "ASSIGN_PRIMARY", "UPGRADE_TO_PRIMARY", "ADD_SECONDARY", "UPGRADE_TO_SECONDARY",
		"DOWNGRADE_TO_SECONDARY", "DOWNGRADE_TO_INACTIVE", "REMOVE", "ADD_SECONDARY_FOR_LB"}
}

// ParseConfigType reads a name as the Pegasus shell takes it, such as DOWNGRADE_TO_INACTIVE.
func ParseConfigType(name string) (ConfigType, bool) {
	for i, n := range configTypeNames() {
		if i > 0 && strings.EqualFold(n, name) {
			return ConfigType(i), true
		}
	}
	return 0, false
}

// String is the name.
func (t ConfigType) String() string {
	if names := configTypeNames(); t >= 0 && int(t) < len(names) {
		return names[t]
	}
	return fmt.Sprintf("TYPE_%d", int32(t))
}

// Level is how much the meta server does by itself.
type Level int32

// Levels. LevelQuery, in a request, changes nothing and asks for the present one.
const (
	LevelStopped Level = 100
	LevelBlind   Level = 200
	LevelFreezed Level = 300
	LevelSteady  Level = 400
	LevelLively  Level = 500
	LevelQuery   Level = 10000
)

// ParseLevel reads "steady".
func ParseLevel(name string) (Level, bool) {
	for _, l := range []Level{LevelStopped, LevelBlind, LevelFreezed, LevelSteady, LevelLively} {
		if l.String() == name {
			return l, true
		}
	}
	return 0, false
}

// String is the level's name.
func (l Level) String() string {
	switch l {
	case LevelStopped:
		return "stopped"
	case LevelBlind:
		return "blind"
	case LevelFreezed:
		return "freezed"
	case LevelSteady:
		return "steady"
	case LevelLively:
		return "lively"
	}
	return fmt.Sprintf("level_%d", int32(l))
}

// ReplicaStatus is the role of a replica on its node.
type ReplicaStatus int32

// Roles.
const (
	ReplicaInactive           ReplicaStatus = 1
	ReplicaError              ReplicaStatus = 2
	ReplicaPrimary            ReplicaStatus = 3
	ReplicaSecondary          ReplicaStatus = 4
	ReplicaPotentialSecondary ReplicaStatus = 5
)

// EnvOp is what UpdateAppEnvRequest does.
type EnvOp int32

// Operations on a table's environment.
const (
	EnvSet    EnvOp = 1
	EnvDelete EnvOp = 2
	EnvClear  EnvOp = 3
)

// BalanceType says what a list of proposals amounts to.
type BalanceType int32

// Kinds of balancing.
const (
	BalanceMovePrimary   BalanceType = 0
	BalanceCopyPrimary   BalanceType = 1
	BalanceCopySecondary BalanceType = 2
)
