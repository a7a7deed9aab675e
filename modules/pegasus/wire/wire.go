// Package wire is the RPC format of Apache Pegasus, in both directions: what a client sends and a
// server answers, and what a server reads and writes.
//
// Two framings carry the same thrift structs. THFT (version 0 and 1) is what clients speak. RDSN is
// what the C++ shell and the servers speak among themselves; a server needs it to be talked to by
// that shell. Both share one TCP port with HTTP and are told apart by their first four bytes.
//
// A real server aborts on a number of requests: an administrative one that names a table, a read with
// an empty key, any body that does not decode. Those cannot be written with [EncodeAdmin] and
// [EncodeData]; a server built on [ReadIncoming] is told about them as a [FrameError].
//
// Every struct is described once, by a method that both encodes and decodes it. Lengths that a peer
// names are believed only as far as bytes have arrived.
package wire

import (
	"errors"
	"fmt"
	"io"
)

// Code is the name of a remote procedure; it routes a request.
type Code string

// Procedures this package knows.
const (
	CodeClusterInfo        Code = "RPC_CM_CLUSTER_INFO"
	CodeListNodes          Code = "RPC_CM_LIST_NODES"
	CodeListApps           Code = "RPC_CM_LIST_APPS"
	CodeQueryConfig        Code = "RPC_CM_QUERY_PARTITION_CONFIG_BY_INDEX"
	CodeControlMeta        Code = "RPC_CM_CONTROL_META"
	CodePropose            Code = "RPC_CM_PROPOSE_BALANCER"
	CodeCreateApp          Code = "RPC_CM_CREATE_APP"
	CodeDropApp            Code = "RPC_CM_DROP_APP"
	CodeRecallApp          Code = "RPC_CM_RECALL_APP"
	CodeRenameApp          Code = "RPC_CM_RENAME_APP"
	CodeUpdateAppEnv       Code = "RPC_CM_UPDATE_APP_ENV"
	CodeDiagnose           Code = "RPC_CM_DDD_DIAGNOSE"
	CodeMaxReplicaCount    Code = "RPC_CM_GET_MAX_REPLICA_COUNT"
	CodeSetMaxReplicaCount Code = "RPC_CM_SET_MAX_REPLICA_COUNT"
	CodeAddBackupPolicy    Code = "RPC_CM_ADD_BACKUP_POLICY"
	CodeModifyBackupPolicy Code = "RPC_CM_MODIFY_BACKUP_POLICY"
	CodeQueryBackupPolicy  Code = "RPC_CM_QUERY_BACKUP_POLICY"
	CodeStartBackup        Code = "RPC_CM_START_BACKUP_APP"
	CodeQueryBackup        Code = "RPC_CM_QUERY_BACKUP_STATUS"
	CodeRestore            Code = "RPC_CM_START_RESTORE"
	CodeQueryRestore       Code = "RPC_CM_QUERY_RESTORE_STATUS"
	CodeRecovery           Code = "RPC_CM_START_RECOVERY"
	CodeQueryReplica       Code = "RPC_QUERY_REPLICA_INFO"
	CodeQueryApp           Code = "RPC_QUERY_APP_INFO"
	CodeCommand            Code = "RPC_CLI_CLI_CALL"
	CodeGet                Code = "RPC_RRDB_RRDB_GET"
	CodePut                Code = "RPC_RRDB_RRDB_PUT"
	CodeRemove             Code = "RPC_RRDB_RRDB_REMOVE"
	CodeTTL                Code = "RPC_RRDB_RRDB_TTL"
)

// ErrorCode is an error by its name. A name that this package does not list is as good as one it does.
type ErrorCode string

// Errors that decide what a client does next.
const (
	OK                ErrorCode = "ERR_OK"
	ForwardToOthers   ErrorCode = "ERR_FORWARD_TO_OTHERS"
	ServiceNotActive  ErrorCode = "ERR_SERVICE_NOT_ACTIVE"
	HandlerNotFound   ErrorCode = "ERR_HANDLER_NOT_FOUND"
	ObjectNotFound    ErrorCode = "ERR_OBJECT_NOT_FOUND"
	InvalidState      ErrorCode = "ERR_INVALID_STATE"
	InvalidParameters ErrorCode = "ERR_INVALID_PARAMETERS"
	Busy              ErrorCode = "ERR_BUSY"
	Timeout           ErrorCode = "ERR_TIMEOUT"
	AppExist          ErrorCode = "ERR_APP_EXIST"
	AppNotExist       ErrorCode = "ERR_APP_NOT_EXIST"
	StateFreezed      ErrorCode = "ERR_STATE_FREEZED"
	BusyCreating      ErrorCode = "ERR_BUSY_CREATING"
	BusyDropping      ErrorCode = "ERR_BUSY_DROPPING"
	UnderRecovery     ErrorCode = "ERR_UNDER_RECOVERY"
	ACLDeny           ErrorCode = "ERR_ACL_DENY"
)

// Message is the argument or the result of a procedure. Only this package defines messages.
type Message interface {
	fields(c *coder)
}

// Request is the argument of a procedure.
type Request interface {
	Message
	// Code is the procedure.
	Code() Code
	newReply() Reply
}

// Reply is the result of a procedure.
type Reply interface {
	Message
	// Result is the error inside the result; OK for results that have none.
	Result() ErrorCode
}

// AdminRequest is a request that concerns no table's data. It is sent without a table in its header,
// because a meta server aborts when there is one.
type AdminRequest[R Reply] interface {
	Request
	admin() R
}

// DataRequest is a request about one key. It is addressed by that key.
type DataRequest[R Reply] interface {
	Request
	data() R
	key() Key
}

// FrameError is bytes that are no request or no answer.
type FrameError struct {
	Problem string
	// Fatal says that a real server's process aborts on this request instead of closing the connection.
	Fatal bool
}

// Error is the problem.
func (e *FrameError) Error() string { return "pegasus rpc: " + e.Problem }

func badFrame(format string, args ...any) error {
	return &FrameError{Problem: fmt.Sprintf(format, args...)}
}

// MaxFrame is the longest body that is read. A longer one is a FrameError.
const MaxFrame = 32 << 20

// readBody reads n bytes without believing n: memory grows with what arrives.
func readBody(r io.Reader, n int64) ([]byte, error) {
	if n < 0 || n > MaxFrame {
		return nil, badFrame("a body of %d bytes", n)
	}
	const chunk = 64 << 10
	body := make([]byte, 0, min(n, chunk))
	for int64(len(body)) < n {
		want := min(n-int64(len(body)), chunk)
		start := len(body)
		body = append(body, make([]byte, want)...)
		if _, err := io.ReadFull(r, body[start:]); err != nil {
			return nil, noEOF(err)
		}
	}
	return body, nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// NewAdminReply makes the empty result that a request will have.
func NewAdminReply[R Reply](req AdminRequest[R]) R { return req.admin() }

// NewDataReply makes the empty result that a request will have.
func NewDataReply[R Reply](req DataRequest[R]) R { return req.data() }
