package zookeeper

// opCode is a kind of request.
type opCode int32

// Kinds of request. A kind that is not here is answered with errUnimplemented.
const (
	opError           opCode = -1
	opCreate          opCode = 1
	opDelete          opCode = 2
	opExists          opCode = 3
	opGetData         opCode = 4
	opSetData         opCode = 5
	opGetACL          opCode = 6
	opSetACL          opCode = 7
	opGetChildren     opCode = 8
	opSync            opCode = 9
	opPing            opCode = 11
	opGetChildren2    opCode = 12
	opCheck           opCode = 13
	opMulti           opCode = 14
	opCreate2         opCode = 15
	opCreateContainer opCode = 19
	opAuth            opCode = 100
	opSetWatches      opCode = 101
	opClose           opCode = -11
)

// errCode is what a reply says; 0 is success.
type errCode int32

// Errors, with ZooKeeper's numbers.
const (
	errOK                      errCode = 0
	errRuntimeInconsistency    errCode = -2
	errMarshalling             errCode = -5
	errUnimplemented           errCode = -6
	errBadArguments            errCode = -8
	errNoNode                  errCode = -101
	errBadVersion              errCode = -103
	errNoChildrenForEphemerals errCode = -108
	errNodeExists              errCode = -110
	errNotEmpty                errCode = -111
	errInvalidACL              errCode = -114
	errAuthFailed              errCode = -115
)

// Flags of a create.
const (
	flagEphemeral  = 1
	flagSequential = 2
	flagContainer  = 4
)

// containerOwner is the ephemeralOwner that marks a container; clients are shown 0.
const containerOwner = -1 << 63

// acl is one entry of a node's access list. It is kept and given back; it is not enforced.
type acl struct {
	Perms  int32
	Scheme string
	ID     string
}

// stat is what ZooKeeper tells about a node.
type stat struct {
	Czxid, Mzxid, Ctime, Mtime  int64
	Version, Cversion, Aversion int32
	EphemeralOwner              int64
	DataLength, NumChildren     int32
	Pzxid                       int64
}

// connectRequest is the first packet of a connection.
type connectRequest struct {
	lastZxid int64
	timeout  int32 // milliseconds
	session  int64 // 0 asks for a new one
	password []byte
	old      bool // the client does not know of read-only servers
}

func decodeConnect(p []byte) (connectRequest, error) {
	d := decoder{b: p}
	d.int() // protocol version, 0 for ever
	r := connectRequest{lastZxid: d.long(), timeout: d.int(), session: d.long(), password: d.buffer()}
	if r.old = len(d.b) == 0; !r.old {
		d.bool()
	}
	return r, d.err
}

// request is one request of a session. Which fields are set depends on op.
type request struct {
	xid     int32
	op      opCode
	path    string
	data    []byte
	acl     []acl
	flags   int32
	version int32
	watch   bool
	scheme  string

	parts   []request // multi
	watches setWatches
}

// setWatches is what a client that reconnects wants to be told about, and what it has seen already.
type setWatches struct {
	relativeZxid       int64
	data, exist, child []string
}

// headerSize is the bytes of xid and operation, which every request begins with.
const headerSize = 8

// decodeRequest reads header and body. On a body that does not fit, the header's fields are valid.
func decodeRequest(p []byte) (request, error) {
	d := decoder{b: p}
	r := request{xid: d.int(), op: opCode(d.int())}
	if d.err != nil {
		return r, d.err
	}
	d.body(&r)
	return r, d.err
}

func (d *decoder) body(r *request) {
	switch r.op {
	case opCreate, opCreate2, opCreateContainer:
		r.path, r.data, r.acl, r.flags = d.string(), d.buffer(), d.acls(), d.int()
	case opDelete, opCheck:
		r.path, r.version = d.string(), d.int()
	case opExists, opGetData, opGetChildren, opGetChildren2:
		r.path, r.watch = d.string(), d.bool()
	case opSetData:
		r.path, r.data, r.version = d.string(), d.buffer(), d.int()
	case opGetACL, opSync:
		r.path = d.string()
	case opSetACL:
		r.path, r.acl, r.version = d.string(), d.acls(), d.int()
	case opAuth:
		d.int()
		r.scheme, r.data = d.string(), d.buffer()
	case opSetWatches:
		r.watches = setWatches{relativeZxid: d.long(), data: d.strings(), exist: d.strings(), child: d.strings()}
	case opMulti:
		d.multi(r)
	}
}

func (d *decoder) multi(r *request) {
	for d.err == nil {
		part := request{op: opCode(d.int())}
		done := d.bool()
		d.int()
		if done || d.err != nil {
			return
		}
		switch part.op {
		case opCreate, opCreate2, opCreateContainer, opDelete, opSetData, opCheck:
			d.body(&part)
		default:
			d.err = errMalformed
		}
		r.parts = append(r.parts, part)
	}
}
