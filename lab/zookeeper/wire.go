package zookeeper

import (
	"encoding/binary"
	"errors"
)

// maxFrame is ZooKeeper's default jute.maxbuffer: a longer request closes the connection.
const maxFrame = 0xfffff

var errMalformed = errors.New("malformed request")

// decoder reads jute. After the first error every read gives the zero value, so that a caller checks
// err once, at the end.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) take(n int) []byte {
	if d.err != nil || n < 0 || n > len(d.b) {
		d.err = errMalformed
		return nil
	}
	p := d.b[:n]
	d.b = d.b[n:]
	return p
}

func (d *decoder) int() int32 {
	p := d.take(4)
	if p == nil {
		return 0
	}
	return int32(binary.BigEndian.Uint32(p))
}

func (d *decoder) long() int64 {
	p := d.take(8)
	if p == nil {
		return 0
	}
	return int64(binary.BigEndian.Uint64(p))
}

func (d *decoder) bool() bool {
	p := d.take(1)
	return p != nil && p[0] != 0
}

// buffer gives nil for the null buffer (length -1), which ZooKeeper tells from an empty one.
func (d *decoder) buffer() []byte {
	n := d.int()
	if d.err != nil || n == -1 {
		return nil
	}
	p := d.take(int(n))
	if p == nil {
		return nil
	}
	return append(make([]byte, 0, len(p)), p...)
}

func (d *decoder) string() string { return string(d.buffer()) }

// count reads the length of a vector whose elements have at least size bytes; it bounds what a
// hostile length makes us allocate.
func (d *decoder) count(size int) int {
	n := d.int()
	if n == -1 {
		return 0
	}
	if n < 0 || int(n) > len(d.b)/size {
		d.err = errMalformed
		return 0
	}
	return int(n)
}

func (d *decoder) strings() []string {
	n := d.count(4)
	list := make([]string, 0, n)
	for range n {
		list = append(list, d.string())
	}
	return list
}

func (d *decoder) acls() []acl {
	n := d.count(12)
	list := make([]acl, 0, n)
	for range n {
		list = append(list, acl{Perms: d.int(), Scheme: d.string(), ID: d.string()})
	}
	return list
}

// encoder writes jute.
type encoder struct{ b []byte }

func (e *encoder) int(v int32)  { e.b = binary.BigEndian.AppendUint32(e.b, uint32(v)) }
func (e *encoder) long(v int64) { e.b = binary.BigEndian.AppendUint64(e.b, uint64(v)) }

func (e *encoder) bool(v bool) {
	if v {
		e.b = append(e.b, 1)
		return
	}
	e.b = append(e.b, 0)
}

func (e *encoder) buffer(p []byte) {
	if p == nil {
		e.int(-1)
		return
	}
	e.int(int32(len(p)))
	e.b = append(e.b, p...)
}

func (e *encoder) string(s string) {
	e.int(int32(len(s)))
	e.b = append(e.b, s...)
}

func (e *encoder) strings(list []string) {
	e.int(int32(len(list)))
	for _, s := range list {
		e.string(s)
	}
}

func (e *encoder) acls(list []acl) {
	e.int(int32(len(list)))
	for _, a := range list {
		e.int(a.Perms)
		e.string(a.Scheme)
		e.string(a.ID)
	}
}

func (e *encoder) stat(s stat) {
	e.long(s.Czxid)
	e.long(s.Mzxid)
	e.long(s.Ctime)
	e.long(s.Mtime)
	e.int(s.Version)
	e.int(s.Cversion)
	e.int(s.Aversion)
	e.long(s.EphemeralOwner)
	e.int(s.DataLength)
	e.int(s.NumChildren)
	e.long(s.Pzxid)
}

// frame gives what goes on the wire: the length and the bytes written so far.
func (e *encoder) frame() []byte {
	return append(binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(e.b)), uint32(len(e.b))), e.b...)
}
