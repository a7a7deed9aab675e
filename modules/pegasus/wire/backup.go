package wire

// AddBackupPolicyRequest makes a policy by which tables are backed up again and again.
type AddBackupPolicyRequest struct {
	Provider  string
	Name      string
	AppIDs    []int32
	Interval  int64 // seconds
	Keep      int32 // how many backups are kept
	StartTime string
}

// AddBackupPolicyResponse says whether it was made; Hint says why not.
type AddBackupPolicyResponse struct {
	Err  ErrorCode
	Hint string
}

func (m *AddBackupPolicyRequest) fields(c *coder) {
	c.textField(1, &m.Provider)
	c.textField(2, &m.Name)
	list(c, 3, tI32, &m.AppIDs, c.i32)
	c.i64Field(4, &m.Interval)
	i32Field(c, 5, &m.Keep)
	c.textField(6, &m.StartTime)
}
func (m *AddBackupPolicyResponse) fields(c *coder) {
	c.errorField(1, &m.Err)
	c.textField(2, &m.Hint)
}

// ModifyBackupPolicyRequest changes a policy; what is nil stays.
type ModifyBackupPolicyRequest struct {
	Name        string
	Add, Remove []int32
	Interval    *int64
	Keep        *int32
	Disable     *bool
	StartTime   *string
}

// ModifyBackupPolicyResponse says whether it was changed; Hint says why not.
type ModifyBackupPolicyResponse struct {
	Err  ErrorCode
	Hint string
}

func (m *ModifyBackupPolicyRequest) fields(c *coder) {
	c.textField(1, &m.Name)
	i32OptionalList(c, 2, &m.Add)
	i32OptionalList(c, 3, &m.Remove)
	optional(c, 4, tI64, &m.Interval, c.i64)
	optional(c, 5, tI32, &m.Keep, c.i32)
	optional(c, 6, tBool, &m.Disable, c.bool)
	optional(c, 7, tString, &m.StartTime, c.text)
}
func (m *ModifyBackupPolicyResponse) fields(c *coder) {
	c.errorField(1, &m.Err)
	c.textField(2, &m.Hint)
}

func i32OptionalList(c *coder, id int16, p *[]int32) {
	if c.decoding || *p != nil {
		list(c, id, tI32, p, c.i32)
	}
}

// QueryBackupPolicyRequest asks for policies, all of them where no name is given, with their last Count
// backups.
type QueryBackupPolicyRequest struct {
	Names []string
	Count int32
}

// QueryBackupPolicyResponse is the policies and, in the same order, their backups.
type QueryBackupPolicyResponse struct {
	Err      ErrorCode
	Policies []BackupPolicy
	Backups  [][]PolicyBackup
	Hint     *string
}

// BackupPolicy is a policy as it stands.
type BackupPolicy struct {
	Name, Provider string
	Interval       string // seconds, as text
	AppIDs         []int32
	Keep           int32
	StartTime      string
	Disabled       bool
}

// PolicyBackup is one backup that a policy made; EndMS is 0 while it is being made.
type PolicyBackup struct {
	ID             int64
	StartMS, EndMS int64
	AppIDs         []int32
}

func (m *QueryBackupPolicyRequest) fields(c *coder) {
	textList(c, 1, &m.Names)
	i32Field(c, 2, &m.Count)
}
func (m *QueryBackupPolicyResponse) fields(c *coder) {
	c.errorField(1, &m.Err)
	list(c, 2, tStruct, &m.Policies, func(p *BackupPolicy) { c.structure(p) })
	list(c, 3, tList, &m.Backups, func(some *[]PolicyBackup) {
		elements(c, tStruct, some, func(b *PolicyBackup) { c.structure(b) })
	})
	optional(c, 4, tString, &m.Hint, c.text)
}
func (m *BackupPolicy) fields(c *coder) {
	c.textField(1, &m.Name)
	c.textField(2, &m.Provider)
	c.textField(3, &m.Interval)
	i32Set(c, 4, &m.AppIDs)
	i32Field(c, 5, &m.Keep)
	c.textField(6, &m.StartTime)
	c.boolField(7, &m.Disabled)
}
func (m *PolicyBackup) fields(c *coder) {
	c.i64Field(1, &m.ID)
	c.i64Field(2, &m.StartMS)
	c.i64Field(3, &m.EndMS)
	i32Set(c, 4, &m.AppIDs)
}

// StartBackupRequest backs one table up, once (2.3 and later).
type StartBackupRequest struct {
	Provider string
	AppID    int32
	Path     *string
}

// StartBackupResponse is the new backup's id; Hint says why there is none.
type StartBackupResponse struct {
	Err  ErrorCode
	Hint string
	ID   *int64
}

func (m *StartBackupRequest) fields(c *coder) {
	c.textField(1, &m.Provider)
	i32Field(c, 2, &m.AppID)
	optional(c, 3, tString, &m.Path, c.text)
}
func (m *StartBackupResponse) fields(c *coder) {
	c.errorField(1, &m.Err)
	c.textField(2, &m.Hint)
	optional(c, 3, tI64, &m.ID, c.i64)
}

// QueryBackupRequest asks for a table's backups, or for one of them.
type QueryBackupRequest struct {
	AppID int32
	ID    *int64
}

// QueryBackupResponse is the backups.
type QueryBackupResponse struct {
	Err     ErrorCode
	Hint    string
	Backups []Backup
}

// Backup is one backup of one table; EndMS is 0 while it is being made.
type Backup struct {
	ID             int64
	AppName        string
	Provider, Path string
	StartMS, EndMS int64
	Failed         bool
}

func (m *QueryBackupRequest) fields(c *coder) {
	i32Field(c, 1, &m.AppID)
	optional(c, 2, tI64, &m.ID, c.i64)
}
func (m *QueryBackupResponse) fields(c *coder) {
	c.errorField(1, &m.Err)
	c.textField(2, &m.Hint)
	if c.decoding || m.Backups != nil {
		list(c, 3, tStruct, &m.Backups, func(b *Backup) { c.structure(b) })
	}
}
func (m *Backup) fields(c *coder) {
	c.i64Field(1, &m.ID)
	c.textField(2, &m.AppName)
	c.textField(3, &m.Provider)
	c.textField(4, &m.Path)
	c.i64Field(5, &m.StartMS)
	c.i64Field(6, &m.EndMS)
	c.boolField(7, &m.Failed)
}

// RestoreRequest makes a table out of a backup. Its answer is a CreateAppResponse.
type RestoreRequest struct {
	Cluster   string // where the backup was made
	Policy    string // empty for a backup of one table
	Timestamp int64  // the backup's id
	AppName   string
	AppID     int32
	NewName   string
	Provider  string
	SkipBad   bool // leave out partitions that cannot be restored
	Path      *string
}

// QueryRestoreRequest asks how far a restored table is.
type QueryRestoreRequest struct{ AppID int32 }

// RestoreDone is the progress of a partition that is restored.
const RestoreDone = 1000

// QueryRestoreResponse is how each partition stands, with its progress from 0 to RestoreDone.
type QueryRestoreResponse struct {
	Err      ErrorCode
	Statuses []ErrorCode
	Progress []int32
}

func (m *RestoreRequest) fields(c *coder) {
	c.textField(1, &m.Cluster)
	c.textField(2, &m.Policy)
	c.i64Field(3, &m.Timestamp)
	c.textField(4, &m.AppName)
	i32Field(c, 5, &m.AppID)
	c.textField(6, &m.NewName)
	c.textField(7, &m.Provider)
	c.boolField(8, &m.SkipBad)
	optional(c, 9, tString, &m.Path, c.text)
}
func (m *QueryRestoreRequest) fields(c *coder) { i32Field(c, 1, &m.AppID) }
func (m *QueryRestoreResponse) fields(c *coder) {
	c.errorField(1, &m.Err)
	list(c, 2, tStruct, &m.Statuses, func(e *ErrorCode) { c.text((*string)(e)) })
	list(c, 3, tI32, &m.Progress, c.i32)
}

// RecoveryRequest has a meta server with an empty store make its tables out of what replica servers have.
type RecoveryRequest struct {
	Nodes     []Address
	SkipBad   bool // leave out nodes that do not answer
	SkipLost  bool // leave out partitions that no node has
	HostPorts []HostPort
}

// RecoveryResponse says whether it was done; Hint lists what was lost.
type RecoveryResponse struct {
	Err  ErrorCode
	Hint string
}

func (m *RecoveryRequest) fields(c *coder) {
	addressList(c, 1, &m.Nodes)
	c.boolField(2, &m.SkipBad)
	c.boolField(3, &m.SkipLost)
	hostPortList(c, 4, &m.HostPorts)
}
func (m *RecoveryResponse) fields(c *coder) {
	c.errorField(1, &m.Err)
	c.textField(2, &m.Hint)
}
