package wire

// QueryReplicaRequest asks a replica server for the replicas it holds. Node is ignored there.
type QueryReplicaRequest struct{ Node Node }

// QueryReplicaResponse is the replicas of a node.
type QueryReplicaResponse struct {
	Err      ErrorCode
	Replicas []ReplicaInfo
}

// ReplicaInfo is a replica as its node sees it.
type ReplicaInfo struct {
	PID                 GPID
	Ballot              int64
	Status              ReplicaStatus
	LastCommittedDecree int64
	LastPreparedDecree  int64
	LastDurableDecree   int64
	AppType             string
	DiskTag             string
	ManualCompactStatus *int32
}

func (m *QueryReplicaRequest) fields(c *coder) {
	addressField(c, 1, &m.Node.Address)
	hostPortField(c, 2, &m.Node.HostPort)
}
func (m *QueryReplicaResponse) fields(c *coder) {
	c.errorField(1, &m.Err)
	list(c, 2, tStruct, &m.Replicas, func(r *ReplicaInfo) { c.structure(r) })
}
func (m *ReplicaInfo) fields(c *coder) {
	gpidField(c, 1, &m.PID)
	c.i64Field(2, &m.Ballot)
	i32Field(c, 3, &m.Status)
	c.i64Field(4, &m.LastCommittedDecree)
	c.i64Field(5, &m.LastPreparedDecree)
	c.i64Field(6, &m.LastDurableDecree)
	c.textField(7, &m.AppType)
	c.textField(8, &m.DiskTag)
	optional(c, 9, tI32, &m.ManualCompactStatus, c.i32)
}

// QueryAppRequest asks a replica server for the tables it has replicas of.
type QueryAppRequest struct{ Meta Node }

// QueryAppResponse is those tables.
type QueryAppResponse struct {
	Err  ErrorCode
	Apps []AppInfo
}

func (m *QueryAppRequest) fields(c *coder) {
	addressField(c, 1, &m.Meta.Address)
	hostPortField(c, 2, &m.Meta.HostPort)
}
func (m *QueryAppResponse) fields(c *coder) {
	c.errorField(1, &m.Err)
	list(c, 2, tStruct, &m.Apps, func(a *AppInfo) { c.structure(a) })
}

// CommandRequest is a remote command of any server.
type CommandRequest struct {
	Command   string
	Arguments []string
}

// CommandResponse is a remote command's answer: text, success or not.
type CommandResponse struct{ Text string }

func (m *CommandRequest) fields(c *coder) {
	c.textField(1, &m.Command)
	textList(c, 2, &m.Arguments)
}

// fields of a CommandResponse are a bare string; see plain.
func (m *CommandResponse) fields(c *coder) { c.text(&m.Text) }

// GetRequest reads a value.
type GetRequest struct{ Key Key }

// GetResponse is a value. Error is RocksDB's code: 0 found, 1 not found.
type GetResponse struct {
	Error  int32
	Value  []byte
	PID    GPID
	Server string
}

// TTLRequest asks how long a value will live.
type TTLRequest struct{ Key Key }

// TTLResponse is seconds; -1 is for ever.
type TTLResponse struct {
	Error   int32
	Seconds int32
	PID     GPID
	Server  string
}

// PutRequest writes a value. ExpireSeconds counts from 2016-01-01; 0 is never.
type PutRequest struct {
	Key           Key
	Value         []byte
	ExpireSeconds int32
}

// RemoveRequest removes a value; one that is not there is no error.
type RemoveRequest struct{ Key Key }

// UpdateResponse answers a write.
type UpdateResponse struct {
	Error  int32
	PID    GPID
	Decree int64
	Server string
}

func (m *GetRequest) fields(c *coder)    { m.Key.inline(c) }
func (m *TTLRequest) fields(c *coder)    { m.Key.inline(c) }
func (m *RemoveRequest) fields(c *coder) { m.Key.inline(c) }
func (m *PutRequest) fields(c *coder) {
	if c.field(1, tStruct) {
		m.Key.inline(c)
	}
	c.blobField(2, &m.Value)
	i32Field(c, 3, &m.ExpireSeconds)
}
func (m *GetResponse) fields(c *coder) {
	i32Field(c, 1, &m.Error)
	c.blobField(2, &m.Value)
	i32Field(c, 3, &m.PID.App)
	i32Field(c, 4, &m.PID.Index)
	c.textField(6, &m.Server)
}
func (m *TTLResponse) fields(c *coder) {
	i32Field(c, 1, &m.Error)
	i32Field(c, 2, &m.Seconds)
	i32Field(c, 3, &m.PID.App)
	i32Field(c, 4, &m.PID.Index)
	c.textField(6, &m.Server)
}
func (m *UpdateResponse) fields(c *coder) {
	i32Field(c, 1, &m.Error)
	i32Field(c, 2, &m.PID.App)
	i32Field(c, 3, &m.PID.Index)
	c.i64Field(4, &m.Decree)
	c.textField(5, &m.Server)
}

// plain gives the wire type of a message, and whether it is a bare value instead of a struct.
func plain(m Message) (typ byte, bare bool) {
	switch m.(type) {
	case *CommandResponse:
		return tString, true
	case *GetRequest, *TTLRequest, *RemoveRequest:
		return tStruct, true
	}
	return tStruct, false
}
