package zookeeper

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// raw is a client that says what no library would.
type raw struct {
	t    *testing.T
	nc   net.Conn
	id   int64
	pass []byte
	zxid int64
	out  *strings.Builder
}

func rawDial(t *testing.T, addr string, out *strings.Builder) *raw {
	t.Helper()
	nc, err := net.DialTimeout("tcp", addr, 2*time.Second)
	require.NoError(t, err)
	t.Cleanup(func() { nc.Close() })
	return &raw{t: t, nc: nc, out: out}
}

func (r *raw) write(e *encoder) {
	_, err := r.nc.Write(e.frame())
	require.NoError(r.t, err)
}

var errClosed = errors.New("closed")

// read gives the next frame, or errClosed.
func (r *raw) read() ([]byte, error) {
	r.nc.SetReadDeadline(time.Now().Add(20 * time.Second))
	var head [4]byte
	if _, err := io.ReadFull(r.nc, head[:]); err != nil {
		require.NotErrorIs(r.t, err, os.ErrDeadlineExceeded)
		return nil, errClosed
	}
	p := make([]byte, binary.BigEndian.Uint32(head[:]))
	_, err := io.ReadFull(r.nc, p)
	return p, err
}

// connect asks for a session and writes down the answer with what is random left out.
func (r *raw) connect(timeout int32, session int64, password []byte, old bool) {
	var e encoder
	e.int(0)
	e.long(0)
	e.int(timeout)
	e.long(session)
	e.buffer(password)
	if !old {
		e.bool(false)
	}
	r.write(&e)
	p, err := r.read()
	if err != nil {
		fmt.Fprintf(r.out, "connect: %v\n", err)
		return
	}
	d := decoder{b: p}
	d.int()
	got := d.int()
	r.id, r.pass = d.long(), d.buffer()
	fmt.Fprintf(r.out, "connect %d: timeout=%d session=%v password=%d rest=%x err=%v\n", timeout, got, r.id != 0, len(r.pass), d.b, d.err)
}

// reply writes down the next frame: its header, and its body when asked for.
func (r *raw) reply(name string, body bool) {
	p, err := r.read()
	if err != nil {
		fmt.Fprintf(r.out, "%s: %v\n", name, err)
		return
	}
	d := decoder{b: p}
	xid, zxid, code := d.int(), d.long(), d.int()
	seen := "same"
	switch {
	case zxid == -1 || zxid == 0:
		seen = fmt.Sprint(zxid)
	case zxid != r.zxid:
		seen = "next"
	}
	if zxid > 0 {
		r.zxid = zxid
	}
	fmt.Fprintf(r.out, "%s: xid=%d zxid=%s err=%d", name, xid, seen, code)
	if body {
		fmt.Fprintf(r.out, " %x", d.b)
	} else {
		fmt.Fprintf(r.out, " %d bytes", len(d.b))
	}
	fmt.Fprintln(r.out)
}

func op(xid int32, code opCode, body func(e *encoder)) *encoder {
	e := &encoder{}
	e.int(xid)
	e.int(int32(code))
	if body != nil {
		body(e)
	}
	return e
}

func path(p string) func(*encoder) { return func(e *encoder) { e.string(p) } }

func pathWatch(p string) func(*encoder) {
	return func(e *encoder) { e.string(p); e.bool(true) }
}

func createBody(p string, flags int32) func(*encoder) {
	return func(e *encoder) {
		e.string(p)
		e.buffer([]byte("x"))
		e.acls([]acl{{31, "world", "anyone"}})
		e.int(flags)
	}
}

func deleteBody(p string) func(*encoder) { return func(e *encoder) { e.string(p); e.int(-1) } }

// rawTranscript writes down the answers to requests at the edge of the protocol.
func rawTranscript(t *testing.T, addr string) string {
	t.Helper()
	var out strings.Builder
	name := fmt.Sprintf("/raw%d", time.Now().UnixNano()) // a node no earlier run has made
	r := rawDial(t, addr, &out)
	r.connect(1_000, 0, make([]byte, 16), false)
	ask := func(what string, e *encoder, body bool) { r.write(e); r.reply(what, body) }
	ask("create", op(1, opCreate, createBody(name, 0)), false)
	ask("ping", op(-2, opPing, nil), true)
	ask("auth", op(-4, opAuth, func(e *encoder) { e.int(0); e.string("digest"); e.buffer([]byte("a:b")) }), true)
	for _, p := range []string{"", "x", "/", "/a//b", "/a/", "/a/../b", "/a/./b", name + "/\x01", name + "/ok"} {
		ask(fmt.Sprintf("create %q", strings.TrimPrefix(p, name)), op(2, opCreate, createBody(p, 0)), false)
	}
	for _, flags := range []int32{-1, 5, 7, 99} {
		ask(fmt.Sprintf("create flags %d", flags), op(3, opCreate, createBody(fmt.Sprintf("%s/f%d", name, flags), flags)), false)
	}
	for _, p := range []string{"", "x", "/", "/zookeeper", "/a/"} {
		ask(fmt.Sprintf("delete %q", p), op(4, opDelete, deleteBody(p)), true)
		ask(fmt.Sprintf("exists %q", p), op(5, opExists, func(e *encoder) { e.string(p); e.bool(false) }), false)
		ask(fmt.Sprintf("setData %q", p+"/none/"), op(6, opSetData, func(e *encoder) { e.string(p + "/none/"); e.buffer(nil); e.int(-1) }), true)
	}
	ask("create2", op(7, opCreate2, createBody(name+"/two", 0)), false)
	ask("getChildren", op(7, opGetChildren, pathWatch(name+"/two")), true)
	ask("getACL", op(7, opGetACL, path(name)), false)
	r.watchesTold(ask, name)
	ask("setWatches", op(-8, opSetWatches, func(e *encoder) {
		e.long(r.zxid)
		e.strings([]string{name + "/gone", name})
		e.strings([]string{name, name + "/later"})
		e.strings([]string{name + "/gone2", name})
	}), false)
	for range 3 {
		r.reply("then", false)
	}
	ask("close", op(8, opClose, nil), true)
	r.reply("after close", true)

	r.reconnects(addr)
	for _, bad := range []struct {
		name string
		e    *encoder
	}{
		{"unknown operation", op(9, 77, nil)},
		{"operation without body", op(9, opCreate, nil)},
		{"body cut short", op(9, opGetData, func(e *encoder) { e.int(5); e.b = append(e.b, "/a"...) })},
		{"hostile vector", op(9, opSetWatches, func(e *encoder) { e.long(0); e.int(1 << 30) })},
		{"no header", &encoder{b: []byte{0, 0}}},
	} {
		r := rawDial(t, addr, &out)
		r.connect(100_000, 0, make([]byte, 16), true)
		r.write(bad.e)
		r.reply(bad.name, true)
		r.nc.Write(op(-2, opPing, nil).frame()) // may be closed: then the reply says so
		r.reply(bad.name+", then a ping", true)
	}
	return out.String()
}

func (r *raw) watchesTold(ask func(string, *encoder, bool), name string) {
	ask("getData none, watching", op(10, opGetData, pathWatch(name+"/later")), true)
	ask("exists none, watching", op(10, opExists, pathWatch(name+"/w")), true)
	ask("getData, watching twice", op(10, opGetData, pathWatch(name+"/two")), false)
	ask("getData, watching twice", op(11, opGetData, pathWatch(name+"/two")), false)
	ask("delete: the watch", op(12, opDelete, deleteBody(name+"/two")), false)
	r.reply("delete: the reply", true)
	ask("create: the watch", op(13, opCreate, createBody(name+"/w", 0)), false)
	r.reply("create: the reply", false)
}

// reconnects shows what becomes of a session that its client takes up again.
func (r *raw) reconnects(addr string) {
	first := rawDial(r.t, addr, r.out)
	first.connect(2_000, 0, make([]byte, 16), false)
	again := rawDial(r.t, addr, r.out)
	again.connect(3_000, first.id, first.pass, false)
	fmt.Fprintf(r.out, "same session: %v\n", again.id == first.id)
	first.reply("the old connection", true)
	wrong := rawDial(r.t, addr, r.out)
	wrong.connect(3_000, first.id, make([]byte, 16), false)
	wrong.reply("wrong password, then", true)
	unknown := rawDial(r.t, addr, r.out)
	unknown.connect(3_000, 4711, make([]byte, 16), true)
	unknown.reply("unknown session, then", true)
}

const goldenRaw = "testdata/raw.txt"

func TestRawAnswersAsRecorded(t *testing.T) {
	want, err := os.ReadFile(goldenRaw)
	require.NoError(t, err)
	require.Equal(t, string(want), rawTranscript(t, start(t, Options{}).Addr()))
}
