package wire

import (
	"bytes"
	"encoding/binary"
	"io"
	"strings"
)

const rdsnHeaderLen = 192

// Bits of the context field of RDSN.
const (
	rdsnIsRequest   uint64 = 1
	rdsnForwardable uint64 = 0x400
	rdsnBackup      uint64 = 0x800
)

// rdsnHeader is the raw header of a request; replies echo most of it.
type rdsnHeader [rdsnHeaderLen]byte

func (h *rdsnHeader) u32(offset int) uint32 { return binary.LittleEndian.Uint32(h[offset:]) }
func (h *rdsnHeader) u64(offset int) uint64 { return binary.LittleEndian.Uint64(h[offset:]) }

// name is a text that fills a field up with zeros.
func (h *rdsnHeader) name(offset int) string {
	text, _, _ := bytes.Cut(h[offset:offset+48], []byte{0})
	return string(text)
}

func (h *rdsnHeader) setName(offset int, text string) {
	clear(h[offset : offset+48])
	copy(h[offset:offset+47], text)
}

func readRDSN(r io.Reader, self Address) (*Incoming, error) {
	h := &rdsnHeader{}
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return nil, noEOF(err)
	}
	if h.u32(4) != 0 || h.u32(8) != rdsnHeaderLen || h.u64(104)&rdsnIsRequest == 0 {
		return nil, badFrame("an RDSN header that is no request of version 0")
	}
	body, err := readBody(r, int64(int32(h.u32(16))))
	if err != nil {
		return nil, err
	}
	in := &Incoming{
		Header: Header{PID: GPID{App: int32(h.u32(96)), Index: int32(h.u32(100))}, TimeoutMS: int32(h.u32(120)),
			ThreadHash: int32(h.u32(124)), PartitionHash: h.u64(128), Backup: h.u64(104)&rdsnBackup != 0},
		Code:        Code(h.name(40)),
		Seq:         int32(h.u64(24)),
		Forwardable: h.u64(104)&rdsnForwardable != 0,
		rdsn:        h,
		self:        self,
	}
	return in, in.argument(&coder{decoding: true, skipStructs: true, in: body})
}

func (h *rdsnHeader) reply(in *Incoming, code ErrorCode, m Reply) []byte {
	c := &coder{}
	if m != nil && code == OK {
		c.wrapped(0, m)
	}
	return h.answer(in, code, c.out)
}

// ForwardReply tells a client that speaks RDSN who the leader is; nil for a client that would not
// follow. A standby answers with it before it looks at the request.
func (in *Incoming) ForwardReply(leader Address) []byte {
	if in.rdsn == nil || !in.Forwardable {
		return nil
	}
	c := &coder{}
	c.field(0, tStruct)
	c.u64((*uint64)(&leader))
	c.out = append(c.out, tStop)
	return in.rdsn.answer(in, ForwardToOthers, c.out)
}

// answer is the request's header turned around, with a body behind.
func (h *rdsnHeader) answer(in *Incoming, code ErrorCode, body []byte) []byte {
	reply := *h
	binary.LittleEndian.PutUint32(reply[16:], uint32(len(body)))
	reply.setName(40, string(in.Code)+"_ACK")
	binary.LittleEndian.PutUint32(reply[88:], ackCode(in.Code, h.u32(88)))
	binary.LittleEndian.PutUint64(reply[104:], h.u64(104)&^rdsnIsRequest)
	binary.LittleEndian.PutUint64(reply[112:], uint64(in.self))
	reply.setName(136, string(code))
	binary.LittleEndian.PutUint32(reply[184:], errorNumber(code))
	binary.LittleEndian.PutUint32(reply[188:], 0)
	return append(reply[:], body...)
}

// ackCode is the number of the reply's task code in the process that numbered the request's: they are
// registered one after the other, the data ones nine at a time. Nobody reads it while the hash is 0.
func ackCode(code Code, number uint32) uint32 {
	switch {
	case number == 0:
		return 0
	case strings.HasPrefix(string(code), "RPC_RRDB_"):
		return number + 9
	}
	return number + 1
}

// errorNumber is the number of an error in a process of 2.5; readers go by the name.
func errorNumber(code ErrorCode) uint32 {
	switch code {
	case ForwardToOthers:
		return 9
	case ObjectNotFound:
		return 10
	case HandlerNotFound:
		return 11
	case InvalidState:
		return 17
	}
	return 0
}
