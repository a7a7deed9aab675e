package zookeeper

import (
	"fmt"
	"time"
)

// connect answers a connection's first packet. It is false when the connection must end.
func (s *Server) connect(c *conn, p []byte) bool {
	r, err := decodeConnect(p)
	if err != nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.lastZxid > s.zxid {
		// The client has seen a later state than ours: as the real server, send it elsewhere.
		s.log.Warn("ZooKeeper client has seen a later state", "client", c.nc.RemoteAddr(), "zxid", r.lastZxid)
		return false
	}
	c.session = s.attach(c, r)
	var out encoder
	out.int(0)
	if c.session == nil {
		out.int(0)
		out.long(0)
		out.buffer(make([]byte, 16))
	} else {
		out.int(int32(c.session.timeout / time.Millisecond))
		out.long(c.session.id)
		out.buffer(s.password(c.session.id))
	}
	if !r.old {
		out.bool(false)
	}
	c.send(out.frame())
	return c.session != nil
}

// handle carries out one request and queues its reply. It is false when the connection must end.
func (s *Server) handle(c *conn, p []byte) bool {
	r, err := decodeRequest(p)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.received++
	if s.sessions[c.session.id] != c.session || c.session.conn != c {
		return false // expired, or the client has come back on another connection
	}
	c.session.touch()
	if err != nil {
		if len(p) < headerSize {
			return false
		}
		s.zxid++ // as the real server, which finds out only when it makes a transaction of it
		s.reply(c, r.xid, s.zxid, errMarshalling, nil)
		return true
	}
	switch r.op {
	case opPing:
		s.reply(c, r.xid, s.zxid, errOK, nil)
	case opClose:
		s.end(c.session)
		s.reply(c, r.xid, s.zxid, errOK, nil)
		return false
	case opAuth:
		return s.auth(c, r)
	case opSetWatches:
		s.watches.renew(s.tree, r.watches, c)
		s.reply(c, r.xid, s.zxid, errOK, nil)
	case opExists, opGetData, opGetACL, opGetChildren, opGetChildren2, opSync:
		body := &encoder{}
		code := s.look(c, r, body)
		s.reply(c, r.xid, s.zxid, code, body)
	case opCreate, opCreate2, opCreateContainer, opDelete, opSetData, opSetACL, opCheck:
		s.change(c, r)
	case opMulti:
		s.multi(c, r)
	default:
		s.reply(c, r.xid, -1, errUnimplemented, nil)
		return false
	}
	return true
}

func (s *Server) reply(c *conn, xid int32, zxid int64, code errCode, body *encoder) {
	s.sent++
	out := header(xid, zxid, code)
	if code == errOK && body != nil {
		out.b = append(out.b, body.b...)
	}
	c.send(out.frame())
}

// auth takes what a client says of itself and makes no use of it.
func (s *Server) auth(c *conn, r request) bool {
	if r.scheme != "digest" && r.scheme != "ip" {
		s.reply(c, r.xid, 0, errAuthFailed, nil)
		return false
	}
	s.reply(c, r.xid, 0, errOK, nil)
	return true
}

// look carries out a request that changes nothing.
func (s *Server) look(c *conn, r request, body *encoder) errCode {
	if r.op == opSync {
		body.string(r.path)
		return errOK
	}
	if r.path == "" {
		r.path = "/"
	}
	n := s.tree.nodes[r.path]
	if r.watch && (n != nil || r.op == opExists) {
		switch r.op {
		case opExists, opGetData:
			watch(s.watches.data, r.path, c)
		default:
			watch(s.watches.child, r.path, c)
		}
	}
	if n == nil {
		return errNoNode
	}
	switch r.op {
	case opExists:
		body.stat(n.stats())
	case opGetData:
		body.buffer(n.data)
		body.stat(n.stats())
	case opGetACL:
		body.acls(n.acl)
		body.stat(n.stats())
	case opGetChildren:
		body.strings(n.names())
	case opGetChildren2:
		body.strings(n.names())
		body.stat(n.stats())
	}
	return errOK
}

func (s *Server) change(c *conn, r request) {
	x := s.begin(c.session.id)
	body := &encoder{}
	code := x.apply(r, body)
	if code == errOK {
		s.commit(x) // events before the reply: a client hears of its own change first
	}
	s.reply(c, r.xid, x.zxid, code, body)
}

// apply makes one change and writes the body of its reply.
func (x *txn) apply(r request, body *encoder) errCode {
	switch r.op {
	case opCreate, opCreate2, opCreateContainer:
		path, code := x.create(r)
		body.string(path)
		if code == errOK && r.op != opCreate {
			body.stat(x.tree.nodes[path].stats())
		}
		return code
	case opDelete:
		return x.delete(r.path, r.version)
	case opSetData:
		st, code := x.setData(r.path, r.data, r.version)
		body.stat(st)
		return code
	case opSetACL:
		st, code := x.setACL(r.path, r.acl, r.version)
		body.stat(st)
		return code
	case opCheck:
		return x.check(r.path, r.version)
	}
	panic(fmt.Sprintf("zookeeper: operation %d is no change", r.op))
}

// multi makes all changes or none. The reply to a multi is a success that holds each part's result.
func (s *Server) multi(c *conn, r request) {
	x := s.begin(c.session.id)
	body := &encoder{}
	failed, code := -1, errOK
	for i, part := range r.parts {
		result := &encoder{}
		if code = x.apply(part, result); code != errOK {
			failed = i
			break
		}
		partHeader(body, part.op, false, errOK)
		body.b = append(body.b, resultOf(part.op, result)...)
	}
	if failed < 0 {
		s.commit(x)
	} else {
		x.rollback()
		body = failures(len(r.parts), failed, code)
	}
	partHeader(body, opError, true, -1)
	s.reply(c, r.xid, x.zxid, errOK, body)
}

// resultOf leaves out what a part has no body for.
func resultOf(op opCode, result *encoder) []byte {
	if op == opDelete || op == opCheck {
		return nil
	}
	return result.b
}

// failures is the results of a multi of which one part failed: those before it say 0, it says why,
// those behind it say that they were not tried.
func failures(n, failed int, code errCode) *encoder {
	body := &encoder{}
	for i := range n {
		each := errOK
		switch {
		case i == failed:
			each = code
		case i > failed:
			each = errRuntimeInconsistency
		}
		partHeader(body, opError, false, each)
		body.int(int32(each))
	}
	return body
}

func partHeader(e *encoder, op opCode, done bool, code errCode) {
	e.int(int32(op))
	e.bool(done)
	e.int(int32(code))
}
