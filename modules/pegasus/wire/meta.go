package wire

// ClusterInfoRequest asks a meta server for what it knows of the cluster. Only the leader answers OK.
type ClusterInfoRequest struct{}

// ClusterInfoResponse is pairs of names and values.
type ClusterInfoResponse struct {
	Err    ErrorCode
	Keys   []string
	Values []string
}

func (*ClusterInfoRequest) fields(*coder) {}
func (m *ClusterInfoResponse) fields(c *coder) {
	c.errorField(1, &m.Err)
	textList(c, 2, &m.Keys)
	textList(c, 3, &m.Values)
}

// Value gives the value of a name; ok is false when it is not there.
func (m *ClusterInfoResponse) Value(key string) (value string, ok bool) {
	for i, k := range m.Keys {
		if k == key && i < len(m.Values) {
			return m.Values[i], true
		}
	}
	return "", false
}

// ListNodesRequest asks for the replica servers of a status.
type ListNodesRequest struct{ Status NodeStatus }

// ListNodesResponse is the replica servers that the meta server has heard of since it started.
type ListNodesResponse struct {
	Err   ErrorCode
	Nodes []NodeInfo
}

// NodeInfo is a replica server and whether it is heard.
type NodeInfo struct {
	Status NodeStatus
	Node   Node
}

func (m *ListNodesRequest) fields(c *coder) { i32Field(c, 1, &m.Status) }
func (m *ListNodesResponse) fields(c *coder) {
	c.errorField(1, &m.Err)
	list(c, 2, tStruct, &m.Nodes, func(n *NodeInfo) { c.structure(n) })
}
func (m *NodeInfo) fields(c *coder) {
	i32Field(c, 1, &m.Status)
	addressField(c, 2, &m.Node.Address)
	hostPortField(c, 3, &m.Node.HostPort)
}

// ListAppsRequest asks for the tables of a status.
type ListAppsRequest struct{ Status AppStatus }

// ListAppsResponse is tables.
type ListAppsResponse struct {
	Err  ErrorCode
	Apps []AppInfo
	// Hint is absent before 2.6.
	Hint *string
}

// AppInfo is a table.
type AppInfo struct {
	Status             AppStatus
	Type               string
	Name               string
	ID                 int32
	PartitionCount     int32
	Envs               map[string]string
	Stateful           bool
	MaxReplicaCount    int32
	ExpireSecond       int64
	CreateSecond       int64
	DropSecond         int64
	Duplicating        *bool
	InitPartitionCount int32
	BulkLoading        *bool
	AtomicIdempotent   *bool // 2.6
}

func (m *ListAppsRequest) fields(c *coder) { i32Field(c, 1, &m.Status) }
func (m *ListAppsResponse) fields(c *coder) {
	c.errorField(1, &m.Err)
	list(c, 2, tStruct, &m.Apps, func(a *AppInfo) { c.structure(a) })
	optional(c, 3, tString, &m.Hint, c.text)
}
func (m *AppInfo) fields(c *coder) {
	i32Field(c, 1, &m.Status)
	c.textField(2, &m.Type)
	c.textField(3, &m.Name)
	i32Field(c, 4, &m.ID)
	i32Field(c, 5, &m.PartitionCount)
	textMap(c, 6, &m.Envs)
	c.boolField(7, &m.Stateful)
	i32Field(c, 8, &m.MaxReplicaCount)
	c.i64Field(9, &m.ExpireSecond)
	c.i64Field(10, &m.CreateSecond)
	c.i64Field(11, &m.DropSecond)
	optional(c, 12, tBool, &m.Duplicating, c.bool)
	i32Field(c, 13, &m.InitPartitionCount)
	optional(c, 14, tBool, &m.BulkLoading, c.bool)
	optional(c, 15, tBool, &m.AtomicIdempotent, c.bool)
}

// QueryConfigRequest asks where a table's partitions are. No indices means all.
type QueryConfigRequest struct {
	AppName string
	Indices []int32
}

// QueryConfigResponse is a table's partitions. A standby answers ForwardToOthers and may name the
// leader as the only partition's primary.
type QueryConfigResponse struct {
	Err            ErrorCode
	AppID          int32
	PartitionCount int32
	Stateful       bool
	Partitions     []PartitionConfig
}

// PartitionConfig is who serves a partition.
type PartitionConfig struct {
	PID                 GPID
	Ballot              int64
	MaxReplicaCount     int32
	Primary             Address
	Secondaries         []Address
	LastDrops           []Address
	LastCommittedDecree int64
	Flags               int32
	// The same by host and port, since 2.6; nil before.
	HPPrimary     *HostPort
	HPSecondaries []HostPort
	HPLastDrops   []HostPort
}

func (m *QueryConfigRequest) fields(c *coder) {
	c.textField(1, &m.AppName)
	list(c, 2, tI32, &m.Indices, c.i32)
}
func (m *QueryConfigResponse) fields(c *coder) {
	c.errorField(1, &m.Err)
	i32Field(c, 2, &m.AppID)
	i32Field(c, 3, &m.PartitionCount)
	c.boolField(4, &m.Stateful)
	list(c, 5, tStruct, &m.Partitions, func(p *PartitionConfig) { c.structure(p) })
}
func (m *PartitionConfig) fields(c *coder) {
	gpidField(c, 1, &m.PID)
	c.i64Field(2, &m.Ballot)
	i32Field(c, 3, &m.MaxReplicaCount)
	addressField(c, 4, &m.Primary)
	addressList(c, 5, &m.Secondaries)
	addressList(c, 6, &m.LastDrops)
	c.i64Field(7, &m.LastCommittedDecree)
	i32Field(c, 8, &m.Flags)
	hostPortField(c, 9, &m.HPPrimary)
	hostPortList(c, 10, &m.HPSecondaries)
	hostPortList(c, 11, &m.HPLastDrops)
}

// ControlMetaRequest sets the function level, or asks for it with LevelQuery. A level of steady or
// below also drops every pending proposal.
type ControlMetaRequest struct{ Level Level }

// ControlMetaResponse is the level before.
type ControlMetaResponse struct {
	Err      ErrorCode
	OldLevel Level
}

func (m *ControlMetaRequest) fields(c *coder) { i32Field(c, 1, &m.Level) }
func (m *ControlMetaResponse) fields(c *coder) {
	c.errorField(1, &m.Err)
	i32Field(c, 2, &m.OldLevel)
}

// ProposeRequest queues changes of one partition's replicas.
type ProposeRequest struct {
	PID         GPID
	Actions     []ProposalAction
	Force       *bool
	BalanceType *BalanceType
}

// ProposalAction is one change: Target is who carries it out, Node whom it concerns.
type ProposalAction struct {
	Target, Node Node
	Type         ConfigType
}

// ProposeResponse says whether the proposal was queued, not whether it will be carried out.
type ProposeResponse struct{ Err ErrorCode }

func (m *ProposeRequest) fields(c *coder) {
	gpidField(c, 1, &m.PID)
	list(c, 2, tStruct, &m.Actions, func(a *ProposalAction) { c.structure(a) })
	optional(c, 3, tBool, &m.Force, c.bool)
	optional(c, 4, tI32, &m.BalanceType, func(b *BalanceType) { c.i32((*int32)(b)) })
}
func (m *ProposalAction) fields(c *coder) {
	addressField(c, 1, &m.Target.Address)
	addressField(c, 2, &m.Node.Address)
	i32Field(c, 3, &m.Type)
	hostPortField(c, 5, &m.Target.HostPort)
	hostPortField(c, 6, &m.Node.HostPort)
}
func (m *ProposeResponse) fields(c *coder) { c.errorField(1, &m.Err) }
