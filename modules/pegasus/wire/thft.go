package wire

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"time"
)

// Beginnings of a frame.
const (
	magicTHFT = "THFT"
	magicRDSN = "RDSN"
)

// Message types of thrift, with the version of its strict form.
const (
	messageCall   uint32 = 0x80010001
	messageReply  uint32 = 0x80010002
	messageOneway uint32 = 0x80010004
)

const thftHeaderLen = 48

// Header is what stands before a request's body.
type Header struct {
	PID           GPID
	TimeoutMS     int32
	ThreadHash    int32
	PartitionHash uint64
	Backup        bool // version 1 of THFT and RDSN only
}

// EncodeAdmin writes an administrative request.
func EncodeAdmin[R Reply](seq int32, timeout time.Duration, req AdminRequest[R]) []byte {
	return encodeTHFT(Header{TimeoutMS: int32(timeout.Milliseconds())}, seq, req)
}

// EncodeData writes a request about a key of a table.
func EncodeData[R Reply](seq int32, timeout time.Duration, table Table, req DataRequest[R]) ([]byte, error) {
	if table.ID <= 0 || table.PartitionCount <= 0 {
		return nil, fmt.Errorf("table %d with %d partitions cannot be addressed", table.ID, table.PartitionCount)
	}
	key := req.key()
	if len(key.raw) == 0 {
		return nil, errKey
	}
	pid := table.Partition(key)
	return encodeTHFT(Header{PID: pid, TimeoutMS: int32(timeout.Milliseconds()),
		ThreadHash: pid.App*7919 + pid.Index, PartitionHash: key.Hash()}, seq, req), nil
}

func encodeTHFT(h Header, seq int32, req Request) []byte {
	c := &coder{}
	c.out = append(c.out, make([]byte, thftHeaderLen)...)
	c.message(messageCall, string(req.Code()), seq)
	c.wrapped(1, req)
	copy(c.out, magicTHFT)
	for _, f := range []struct {
		offset int
		value  uint32
	}{
		{8, thftHeaderLen}, {16, uint32(len(c.out) - thftHeaderLen)}, {24, uint32(h.PID.App)},
		{28, uint32(h.PID.Index)}, {32, uint32(h.TimeoutMS)}, {36, uint32(h.ThreadHash)},
	} {
		binary.BigEndian.PutUint32(c.out[f.offset:], f.value)
	}
	binary.BigEndian.PutUint64(c.out[40:], h.PartitionHash)
	return c.out
}

// message writes thrift's message header.
func (c *coder) message(typ uint32, name string, seq int32) {
	c.out = binary.BigEndian.AppendUint32(c.out, typ)
	c.text(&name)
	c.i32(&seq)
}

// wrapped writes the struct that holds nothing but the argument or result.
func (c *coder) wrapped(id int16, m Message) {
	typ, bare := plain(m)
	c.field(id, typ)
	if bare {
		m.fields(c)
	} else {
		c.structure(m)
	}
	c.out = append(c.out, tStop)
}

// unwrap reads that struct. The id is not looked at, as servers do.
func (c *coder) unwrap(m Message) {
	want, bare := plain(m)
	var typ byte
	var id int16
	c.byte(&typ)
	c.i16(&id)
	if c.err == nil && typ != want {
		c.fail("a value of type %d where %d was expected", typ, want)
	}
	if bare {
		m.fields(c)
	} else {
		c.structure(m)
	}
	if c.byte(&typ); c.err == nil && typ != tStop {
		c.fail("more than one value")
	}
}

// Answer is a reply as it came: its error and sequence number are known, its result is still encoded.
type Answer struct {
	// Err is the error of the transport; the result may hold another one.
	Err  ErrorCode
	Code Code
	Seq  int32
	body []byte
}

// ReadAnswer reads one reply.
func ReadAnswer(r io.Reader) (*Answer, error) {
	var prefix [4]byte
	if _, err := io.ReadFull(r, prefix[:]); err != nil {
		return nil, err
	}
	total := int64(int32(binary.BigEndian.Uint32(prefix[:])))
	if total < 16 {
		return nil, badFrame("an answer of %d bytes", total)
	}
	body, err := readBody(r, total-4)
	if err != nil {
		return nil, err
	}
	return decodeAnswer(body)
}

func decodeAnswer(body []byte) (*Answer, error) {
	c := &coder{decoding: true, in: body}
	a := &Answer{}
	var typ int32
	var name string
	c.text((*string)(&a.Err))
	c.i32(&typ)
	c.text(&name)
	c.i32(&a.Seq)
	if c.err != nil {
		return nil, c.err
	}
	code, isACK := bytes.CutSuffix([]byte(name), []byte("_ACK"))
	if uint32(typ) != messageReply || !isACK {
		return nil, badFrame("an answer that is no reply: %.60q", name)
	}
	a.Code, a.body = Code(code), c.in
	return a, nil
}

// Decode reads the result. An answer with an error of the transport has none.
func (a *Answer) Decode(into Reply) error {
	c := &coder{decoding: true, in: a.body}
	c.unwrap(into)
	if c.err == nil && len(c.in) > 0 {
		c.fail("%d bytes behind the result", len(c.in))
	}
	return c.err
}

func encodeTHFTReply(code Code, seq int32, err ErrorCode, m Reply) []byte {
	c := &coder{out: make([]byte, 4)}
	c.text((*string)(&err))
	c.message(messageReply, string(code)+"_ACK", seq)
	if m != nil && err == OK {
		c.wrapped(0, m)
	}
	binary.BigEndian.PutUint32(c.out, uint32(len(c.out)))
	return c.out
}
