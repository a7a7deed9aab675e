package wire

// newRequest makes an empty request of a procedure; nil for one that this package does not know.
func newRequest(code Code) Request {
	switch code {
	case CodeClusterInfo:
		return &ClusterInfoRequest{}
	case CodeListNodes:
		return &ListNodesRequest{}
	case CodeListApps:
		return &ListAppsRequest{}
	case CodeQueryConfig:
		return &QueryConfigRequest{}
	case CodeControlMeta:
		return &ControlMetaRequest{}
	case CodePropose:
		return &ProposeRequest{}
	case CodeCreateApp:
		return &CreateAppRequest{}
	case CodeDropApp:
		return &DropAppRequest{}
	case CodeRecallApp:
		return &RecallAppRequest{}
	case CodeRenameApp:
		return &RenameAppRequest{}
	case CodeUpdateAppEnv:
		return &UpdateAppEnvRequest{}
	case CodeDiagnose:
		return &DiagnoseRequest{}
	case CodeMaxReplicaCount:
		return &MaxReplicaCountRequest{}
	case CodeSetMaxReplicaCount:
		return &SetMaxReplicaCountRequest{}
	case CodeAddBackupPolicy:
		return &AddBackupPolicyRequest{}
	case CodeModifyBackupPolicy:
		return &ModifyBackupPolicyRequest{}
	case CodeQueryBackupPolicy:
		return &QueryBackupPolicyRequest{}
	case CodeStartBackup:
		return &StartBackupRequest{}
	case CodeQueryBackup:
		return &QueryBackupRequest{}
	case CodeRestore:
		return &RestoreRequest{}
	case CodeQueryRestore:
		return &QueryRestoreRequest{}
	case CodeRecovery:
		return &RecoveryRequest{}
	case CodeQueryReplica:
		return &QueryReplicaRequest{}
	case CodeQueryApp:
		return &QueryAppRequest{}
	case CodeCommand:
		return &CommandRequest{}
	case CodeGet:
		return &GetRequest{}
	case CodeTTL:
		return &TTLRequest{}
	case CodePut:
		return &PutRequest{}
	case CodeRemove:
		return &RemoveRequest{}
	}
	return nil
}

// Code is CodeClusterInfo.
func (*ClusterInfoRequest) Code() Code                  { return CodeClusterInfo }
func (*ClusterInfoRequest) admin() *ClusterInfoResponse { return &ClusterInfoResponse{} }
func (m *ClusterInfoRequest) newReply() Reply           { return m.admin() }

// Code is CodeListNodes.
func (*ListNodesRequest) Code() Code                { return CodeListNodes }
func (*ListNodesRequest) admin() *ListNodesResponse { return &ListNodesResponse{} }
func (m *ListNodesRequest) newReply() Reply         { return m.admin() }

// Code is CodeListApps.
func (*ListAppsRequest) Code() Code               { return CodeListApps }
func (*ListAppsRequest) admin() *ListAppsResponse { return &ListAppsResponse{} }
func (m *ListAppsRequest) newReply() Reply        { return m.admin() }

// Code is CodeQueryConfig.
func (*QueryConfigRequest) Code() Code                  { return CodeQueryConfig }
func (*QueryConfigRequest) admin() *QueryConfigResponse { return &QueryConfigResponse{} }
func (m *QueryConfigRequest) newReply() Reply           { return m.admin() }

// Code is CodeControlMeta.
func (*ControlMetaRequest) Code() Code                  { return CodeControlMeta }
func (*ControlMetaRequest) admin() *ControlMetaResponse { return &ControlMetaResponse{} }
func (m *ControlMetaRequest) newReply() Reply           { return m.admin() }

// Code is CodePropose.
func (*ProposeRequest) Code() Code              { return CodePropose }
func (*ProposeRequest) admin() *ProposeResponse { return &ProposeResponse{} }
func (m *ProposeRequest) newReply() Reply       { return m.admin() }

// Code is CodeCreateApp.
func (*CreateAppRequest) Code() Code                { return CodeCreateApp }
func (*CreateAppRequest) admin() *CreateAppResponse { return &CreateAppResponse{} }
func (m *CreateAppRequest) newReply() Reply         { return m.admin() }

// Code is CodeDropApp.
func (*DropAppRequest) Code() Code              { return CodeDropApp }
func (*DropAppRequest) admin() *DropAppResponse { return &DropAppResponse{} }
func (m *DropAppRequest) newReply() Reply       { return m.admin() }

// Code is CodeRecallApp.
func (*RecallAppRequest) Code() Code                { return CodeRecallApp }
func (*RecallAppRequest) admin() *RecallAppResponse { return &RecallAppResponse{} }
func (m *RecallAppRequest) newReply() Reply         { return m.admin() }

// Code is CodeRenameApp.
func (*RenameAppRequest) Code() Code                { return CodeRenameApp }
func (*RenameAppRequest) admin() *RenameAppResponse { return &RenameAppResponse{} }
func (m *RenameAppRequest) newReply() Reply         { return m.admin() }

// Code is CodeUpdateAppEnv.
func (*UpdateAppEnvRequest) Code() Code                   { return CodeUpdateAppEnv }
func (*UpdateAppEnvRequest) admin() *UpdateAppEnvResponse { return &UpdateAppEnvResponse{} }
func (m *UpdateAppEnvRequest) newReply() Reply            { return m.admin() }

// Code is CodeDiagnose.
func (*DiagnoseRequest) Code() Code               { return CodeDiagnose }
func (*DiagnoseRequest) admin() *DiagnoseResponse { return &DiagnoseResponse{} }
func (m *DiagnoseRequest) newReply() Reply        { return m.admin() }

// Code is CodeMaxReplicaCount.
func (*MaxReplicaCountRequest) Code() Code                      { return CodeMaxReplicaCount }
func (*MaxReplicaCountRequest) admin() *MaxReplicaCountResponse { return &MaxReplicaCountResponse{} }
func (m *MaxReplicaCountRequest) newReply() Reply               { return m.admin() }

// Code is CodeSetMaxReplicaCount.
func (*SetMaxReplicaCountRequest) Code() Code { return CodeSetMaxReplicaCount }
func (*SetMaxReplicaCountRequest) admin() *SetMaxReplicaCountResponse {
	return &SetMaxReplicaCountResponse{}
}
func (m *SetMaxReplicaCountRequest) newReply() Reply { return m.admin() }

// Code is CodeQueryReplica.
func (*QueryReplicaRequest) Code() Code                   { return CodeQueryReplica }
func (*QueryReplicaRequest) admin() *QueryReplicaResponse { return &QueryReplicaResponse{} }
func (m *QueryReplicaRequest) newReply() Reply            { return m.admin() }

// Code is CodeQueryApp.
func (*QueryAppRequest) Code() Code               { return CodeQueryApp }
func (*QueryAppRequest) admin() *QueryAppResponse { return &QueryAppResponse{} }
func (m *QueryAppRequest) newReply() Reply        { return m.admin() }

// Code is CodeCommand.
func (*CommandRequest) Code() Code              { return CodeCommand }
func (*CommandRequest) admin() *CommandResponse { return &CommandResponse{} }
func (m *CommandRequest) newReply() Reply       { return m.admin() }

// Code is CodeGet.
func (*GetRequest) Code() Code         { return CodeGet }
func (*GetRequest) data() *GetResponse { return &GetResponse{} }
func (m *GetRequest) newReply() Reply  { return m.data() }
func (m *GetRequest) key() Key         { return m.Key }

// Code is CodeTTL.
func (*TTLRequest) Code() Code         { return CodeTTL }
func (*TTLRequest) data() *TTLResponse { return &TTLResponse{} }
func (m *TTLRequest) newReply() Reply  { return m.data() }

// Code is CodePut.
func (*PutRequest) Code() Code            { return CodePut }
func (*PutRequest) data() *UpdateResponse { return &UpdateResponse{} }
func (m *PutRequest) newReply() Reply     { return m.data() }
func (m *PutRequest) key() Key            { return m.Key }

// Code is CodeRemove.
func (*RemoveRequest) Code() Code            { return CodeRemove }
func (*RemoveRequest) data() *UpdateResponse { return &UpdateResponse{} }
func (m *RemoveRequest) newReply() Reply     { return m.data() }
func (m *RemoveRequest) key() Key            { return m.Key }

// Result is the error in the answer.
func (m *ClusterInfoResponse) Result() ErrorCode { return m.Err }

// Result is the error in the answer.
func (m *ListNodesResponse) Result() ErrorCode { return m.Err }

// Result is the error in the answer.
func (m *ListAppsResponse) Result() ErrorCode { return m.Err }

// Result is the error in the answer.
func (m *QueryConfigResponse) Result() ErrorCode { return m.Err }

// Result is the error in the answer.
func (m *ControlMetaResponse) Result() ErrorCode { return m.Err }

// Result is the error in the answer.
func (m *ProposeResponse) Result() ErrorCode { return m.Err }

// Result is the error in the answer.
func (m *CreateAppResponse) Result() ErrorCode { return m.Err }

// Result is the error in the answer.
func (m *DropAppResponse) Result() ErrorCode { return m.Err }

// Result is the error in the answer.
func (m *RecallAppResponse) Result() ErrorCode { return m.Err }

// Result is the error in the answer.
func (m *RenameAppResponse) Result() ErrorCode { return m.Err }

// Result is the error in the answer.
func (m *UpdateAppEnvResponse) Result() ErrorCode { return m.Err }

// Result is the error in the answer.
func (m *DiagnoseResponse) Result() ErrorCode { return m.Err }

// Result is the error in the answer.
func (m *MaxReplicaCountResponse) Result() ErrorCode { return m.Err }

// Result is the error in the answer.
func (m *SetMaxReplicaCountResponse) Result() ErrorCode { return m.Err }

// Result is the error in the answer.
func (m *QueryReplicaResponse) Result() ErrorCode { return m.Err }

// Result is the error in the answer.
func (m *QueryAppResponse) Result() ErrorCode { return m.Err }

// Result is OK; whether the command worked is in its text.
func (*CommandResponse) Result() ErrorCode { return OK }

// Result is OK; the store's own error is in the Error field.
func (*GetResponse) Result() ErrorCode { return OK }

// Result is OK; the store's own error is in the Error field.
func (*TTLResponse) Result() ErrorCode { return OK }

// Result is OK; the store's own error is in the Error field.
func (*UpdateResponse) Result() ErrorCode { return OK }

// Code is CodeAddBackupPolicy.
func (*AddBackupPolicyRequest) Code() Code                      { return CodeAddBackupPolicy }
func (*AddBackupPolicyRequest) admin() *AddBackupPolicyResponse { return &AddBackupPolicyResponse{} }
func (m *AddBackupPolicyRequest) newReply() Reply               { return m.admin() }

// Code is CodeModifyBackupPolicy.
func (*ModifyBackupPolicyRequest) Code() Code { return CodeModifyBackupPolicy }
func (*ModifyBackupPolicyRequest) admin() *ModifyBackupPolicyResponse {
	return &ModifyBackupPolicyResponse{}
}
func (m *ModifyBackupPolicyRequest) newReply() Reply { return m.admin() }

// Code is CodeQueryBackupPolicy.
func (*QueryBackupPolicyRequest) Code() Code { return CodeQueryBackupPolicy }
func (*QueryBackupPolicyRequest) admin() *QueryBackupPolicyResponse {
	return &QueryBackupPolicyResponse{}
}
func (m *QueryBackupPolicyRequest) newReply() Reply { return m.admin() }

// Code is CodeStartBackup.
func (*StartBackupRequest) Code() Code                  { return CodeStartBackup }
func (*StartBackupRequest) admin() *StartBackupResponse { return &StartBackupResponse{} }
func (m *StartBackupRequest) newReply() Reply           { return m.admin() }

// Code is CodeQueryBackup.
func (*QueryBackupRequest) Code() Code                  { return CodeQueryBackup }
func (*QueryBackupRequest) admin() *QueryBackupResponse { return &QueryBackupResponse{} }
func (m *QueryBackupRequest) newReply() Reply           { return m.admin() }

// Code is CodeRestore.
func (*RestoreRequest) Code() Code                { return CodeRestore }
func (*RestoreRequest) admin() *CreateAppResponse { return &CreateAppResponse{} }
func (m *RestoreRequest) newReply() Reply         { return m.admin() }

// Code is CodeQueryRestore.
func (*QueryRestoreRequest) Code() Code                   { return CodeQueryRestore }
func (*QueryRestoreRequest) admin() *QueryRestoreResponse { return &QueryRestoreResponse{} }
func (m *QueryRestoreRequest) newReply() Reply            { return m.admin() }

// Code is CodeRecovery.
func (*RecoveryRequest) Code() Code               { return CodeRecovery }
func (*RecoveryRequest) admin() *RecoveryResponse { return &RecoveryResponse{} }
func (m *RecoveryRequest) newReply() Reply        { return m.admin() }

// Result is the error in the answer.
func (m *AddBackupPolicyResponse) Result() ErrorCode { return m.Err }

// Result is the error in the answer.
func (m *ModifyBackupPolicyResponse) Result() ErrorCode { return m.Err }

// Result is the error in the answer.
func (m *QueryBackupPolicyResponse) Result() ErrorCode { return m.Err }

// Result is the error in the answer.
func (m *StartBackupResponse) Result() ErrorCode { return m.Err }

// Result is the error in the answer.
func (m *QueryBackupResponse) Result() ErrorCode { return m.Err }

// Result is the error in the answer.
func (m *QueryRestoreResponse) Result() ErrorCode { return m.Err }

// Result is the error in the answer.
func (m *RecoveryResponse) Result() ErrorCode { return m.Err }
