package wire

// CreateAppRequest makes a table.
type CreateAppRequest struct {
	AppName string
	Options CreateAppOptions
}

// CreateAppOptions are the properties of a new table.
type CreateAppOptions struct {
	PartitionCount   int32
	ReplicaCount     int32
	SuccessIfExist   bool
	Type             string
	Stateful         bool
	Envs             map[string]string
	AtomicIdempotent *bool // 2.6
}

// CreateAppResponse is the new table's id.
type CreateAppResponse struct {
	Err   ErrorCode
	AppID int32
}

func (m *CreateAppRequest) fields(c *coder) {
	c.textField(1, &m.AppName)
	c.structField(2, &m.Options)
}
func (m *CreateAppOptions) fields(c *coder) {
	i32Field(c, 1, &m.PartitionCount)
	i32Field(c, 2, &m.ReplicaCount)
	c.boolField(3, &m.SuccessIfExist)
	c.textField(4, &m.Type)
	c.boolField(5, &m.Stateful)
	textMap(c, 6, &m.Envs)
	optional(c, 7, tBool, &m.AtomicIdempotent, c.bool)
}
func (m *CreateAppResponse) fields(c *coder) {
	c.errorField(1, &m.Err)
	i32Field(c, 2, &m.AppID)
}

// DropAppRequest drops a table; it can be recalled for ReserveSeconds.
type DropAppRequest struct {
	AppName string
	Options DropAppOptions
}

// DropAppOptions say how to drop.
type DropAppOptions struct {
	SuccessIfNotExist bool
	ReserveSeconds    *int64
}

// DropAppResponse says whether it was dropped.
type DropAppResponse struct{ Err ErrorCode }

func (m *DropAppRequest) fields(c *coder) {
	c.textField(1, &m.AppName)
	c.structField(2, &m.Options)
}
func (m *DropAppOptions) fields(c *coder) {
	c.boolField(1, &m.SuccessIfNotExist)
	optional(c, 2, tI64, &m.ReserveSeconds, c.i64)
}
func (m *DropAppResponse) fields(c *coder) { c.errorField(1, &m.Err) }

// RecallAppRequest brings a dropped table back, under a new name if one is given.
type RecallAppRequest struct {
	AppID   int32
	NewName string
}

// RecallAppResponse is the recalled table.
type RecallAppResponse struct {
	Err  ErrorCode
	Info AppInfo
}

func (m *RecallAppRequest) fields(c *coder) {
	i32Field(c, 1, &m.AppID)
	c.textField(2, &m.NewName)
}
func (m *RecallAppResponse) fields(c *coder) {
	c.errorField(1, &m.Err)
	c.structField(2, &m.Info)
}

// RenameAppRequest gives a table another name (2.5 and later).
type RenameAppRequest struct{ OldName, NewName string }

// RenameAppResponse says whether it was renamed.
type RenameAppResponse struct {
	Err  ErrorCode
	Hint string
}

func (m *RenameAppRequest) fields(c *coder) {
	c.textField(1, &m.OldName)
	c.textField(2, &m.NewName)
}
func (m *RenameAppResponse) fields(c *coder) {
	c.errorField(1, &m.Err)
	c.textField(2, &m.Hint)
}

// UpdateAppEnvRequest changes a table's environment.
type UpdateAppEnvRequest struct {
	AppName     string
	Op          EnvOp
	Keys        []string
	Values      []string
	ClearPrefix *string
}

// UpdateAppEnvResponse says whether it was changed; Hint says why not.
type UpdateAppEnvResponse struct {
	Err  ErrorCode
	Hint string
}

func (m *UpdateAppEnvRequest) fields(c *coder) {
	c.textField(1, &m.AppName)
	i32Field(c, 2, &m.Op)
	textOptionalList(c, 3, &m.Keys)
	textOptionalList(c, 4, &m.Values)
	optional(c, 5, tString, &m.ClearPrefix, c.text)
}
func (m *UpdateAppEnvResponse) fields(c *coder) {
	c.errorField(1, &m.Err)
	c.textField(2, &m.Hint)
}

func textOptionalList(c *coder, id int16, p *[]string) {
	if c.decoding || *p != nil {
		textList(c, id, p)
	}
}

// MaxReplicaCountRequest asks how many replicas a table's partitions should have.
type MaxReplicaCountRequest struct{ AppName string }

// MaxReplicaCountResponse is that number.
type MaxReplicaCountResponse struct {
	Err             ErrorCode
	MaxReplicaCount int32
	Hint            string
}

func (m *MaxReplicaCountRequest) fields(c *coder) { c.textField(1, &m.AppName) }
func (m *MaxReplicaCountResponse) fields(c *coder) {
	c.errorField(1, &m.Err)
	i32Field(c, 2, &m.MaxReplicaCount)
	c.textField(3, &m.Hint)
}

// SetMaxReplicaCountRequest changes how many replicas a table's partitions should have.
type SetMaxReplicaCountRequest struct {
	AppName         string
	MaxReplicaCount int32
}

// SetMaxReplicaCountResponse is how many there were to be before.
type SetMaxReplicaCountResponse struct {
	Err    ErrorCode
	Before int32
	Hint   string
}

func (m *SetMaxReplicaCountRequest) fields(c *coder) {
	c.textField(1, &m.AppName)
	i32Field(c, 2, &m.MaxReplicaCount)
}
func (m *SetMaxReplicaCountResponse) fields(c *coder) {
	c.errorField(1, &m.Err)
	i32Field(c, 2, &m.Before)
	c.textField(3, &m.Hint)
}

// DiagnoseRequest asks for partitions that lost all replicas. An Index of -1 is the whole table.
type DiagnoseRequest struct{ PID GPID }

// DiagnoseResponse is the partitions that need a person's decision.
type DiagnoseResponse struct {
	Err        ErrorCode
	Partitions []DiagnosedPartition
}

// DiagnosedPartition is a partition with the nodes that once had it.
type DiagnosedPartition struct {
	Config  PartitionConfig
	Dropped []DiagnosedNode
	Reason  string
}

// DiagnosedNode is what is known of a partition's replica on a node.
type DiagnosedNode struct {
	Node                           Node
	DropTimeMS                     int64
	Alive, Collected               bool
	Ballot, LastCommitted, Prepare int64
}

func (m *DiagnoseRequest) fields(c *coder) { gpidField(c, 1, &m.PID) }
func (m *DiagnoseResponse) fields(c *coder) {
	c.errorField(1, &m.Err)
	list(c, 2, tStruct, &m.Partitions, func(p *DiagnosedPartition) { c.structure(p) })
}
func (m *DiagnosedPartition) fields(c *coder) {
	c.structField(1, &m.Config)
	list(c, 2, tStruct, &m.Dropped, func(n *DiagnosedNode) { c.structure(n) })
	c.textField(3, &m.Reason)
}
func (m *DiagnosedNode) fields(c *coder) {
	addressField(c, 1, &m.Node.Address)
	c.i64Field(2, &m.DropTimeMS)
	c.boolField(3, &m.Alive)
	c.boolField(4, &m.Collected)
	c.i64Field(5, &m.Ballot)
	c.i64Field(6, &m.LastCommitted)
	c.i64Field(7, &m.Prepare)
	hostPortField(c, 8, &m.Node.HostPort)
}
