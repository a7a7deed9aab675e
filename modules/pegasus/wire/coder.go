package wire

import (
	"encoding/binary"
	"maps"
	"slices"
)

// Types as thrift's binary protocol numbers them.
const (
	tStop   byte = 0
	tBool   byte = 2
	tByte   byte = 3
	tDouble byte = 4
	tI16    byte = 6
	tI32    byte = 8
	tI64    byte = 10
	tString byte = 11
	tStruct byte = 12
	tMap    byte = 13
	tSet    byte = 14
	tList   byte = 15
)

// maxElements bounds the elements of one list and maxDepth the nesting, since an element of one byte
// on the wire is a whole struct in memory.
const (
	maxElements = 1 << 18
	maxDepth    = 24
)

// coder encodes to out or decodes from in. A message describes its fields to it once: encoding writes
// all in order; decoding calls the description once a field on the wire, and the entry with the same
// id and type takes the value. The first error stays and ends the work.
type coder struct {
	decoding bool
	out      []byte
	in       []byte
	at       cursor
	depth    int
	// skipStructs skips structs of unknown fields. Values that Pegasus writes inline under a struct's
	// type cannot be skipped without their schema, so answers of a newer server are refused instead.
	skipStructs bool
	err         error
}

// cursor is the field being decoded.
type cursor struct {
	id    int16
	typ   byte
	taken bool
}

func (c *coder) fail(format string, args ...any) {
	if c.err == nil {
		c.err = badFrame(format, args...)
	}
	c.in = nil
}

// take cuts n bytes off the input; nil when there are fewer.
func (c *coder) take(n int) []byte {
	if c.err != nil {
		return nil
	}
	if n < 0 || n > len(c.in) {
		c.fail("%d bytes are missing", n-len(c.in))
		return nil
	}
	b := c.in[:n]
	c.in = c.in[n:]
	return b
}

// field begins a field: written when encoding, and true when decoding if it is the one on the wire.
func (c *coder) field(id int16, typ byte) bool {
	if !c.decoding {
		c.out = append(c.out, typ)
		c.out = binary.BigEndian.AppendUint16(c.out, uint16(id))
		return true
	}
	if c.at.taken || c.at.id != id || c.at.typ != typ {
		return false
	}
	c.at.taken = true
	return true
}

// structure is a message's fields and the stop byte.
func (c *coder) structure(m Message) {
	if !c.decoding {
		m.fields(c)
		c.out = append(c.out, tStop)
		return
	}
	if c.depth++; c.depth > maxDepth {
		c.fail("structs nested deeper than %d", maxDepth)
	}
	outer := c.at
	for c.err == nil {
		var typ byte
		if c.byte(&typ); typ == tStop {
			break
		}
		c.at = cursor{typ: typ}
		c.i16(&c.at.id)
		if m.fields(c); !c.at.taken {
			c.skip(typ)
		}
	}
	c.at = outer
	c.depth--
}

// skip passes over a value of a field that the struct does not have.
func (c *coder) skip(typ byte) {
	if c.depth++; c.depth > maxDepth {
		c.fail("values nested deeper than %d", maxDepth)
	}
	defer func() { c.depth-- }()
	switch typ {
	case tBool, tByte:
		c.take(1)
	case tI16:
		c.take(2)
	case tI32:
		c.take(4)
	case tI64, tDouble:
		c.take(8)
	case tString:
		c.take(c.length())
	case tList, tSet:
		var elem byte
		c.byte(&elem)
		c.skipMany(c.length(), elem)
	case tMap:
		var key, value byte
		c.byte(&key)
		c.byte(&value)
		c.skipMany(c.length(), key, value)
	case tStruct:
		c.skipStruct()
	default:
		c.fail("there is no type %d", typ)
	}
}

func (c *coder) skipMany(n int, types ...byte) {
	for range n {
		for _, typ := range types {
			if c.skip(typ); c.err != nil {
				return
			}
		}
	}
}

func (c *coder) skipStruct() {
	if !c.skipStructs {
		c.fail("field %d is a struct of a newer server that this version does not know", c.at.id)
	}
	for c.err == nil {
		var typ byte
		if c.byte(&typ); typ == tStop {
			return
		}
		c.take(2)
		c.skip(typ)
	}
}

// length reads the count of a string, list or map; every element takes a byte or more.
func (c *coder) length() int {
	var n int32
	c.i32(&n)
	if n < 0 || int(n) > len(c.in) {
		c.fail("a length of %d where %d bytes follow", n, len(c.in))
		return 0
	}
	return int(n)
}

func (c *coder) byte(p *byte) {
	if !c.decoding {
		c.out = append(c.out, *p)
	} else if b := c.take(1); b != nil {
		*p = b[0]
	}
}

func (c *coder) bool(p *bool) {
	var b byte
	if *p {
		b = 1
	}
	c.byte(&b)
	*p = b != 0
}

func (c *coder) i16(p *int16) {
	if !c.decoding {
		c.out = binary.BigEndian.AppendUint16(c.out, uint16(*p))
	} else if b := c.take(2); b != nil {
		*p = int16(binary.BigEndian.Uint16(b))
	}
}

func (c *coder) i32(p *int32) {
	if !c.decoding {
		c.out = binary.BigEndian.AppendUint32(c.out, uint32(*p))
	} else if b := c.take(4); b != nil {
		*p = int32(binary.BigEndian.Uint32(b))
	}
}

func (c *coder) u64(p *uint64) {
	if !c.decoding {
		c.out = binary.BigEndian.AppendUint64(c.out, *p)
	} else if b := c.take(8); b != nil {
		*p = binary.BigEndian.Uint64(b)
	}
}

func (c *coder) i64(p *int64) {
	u := uint64(*p)
	c.u64(&u)
	*p = int64(u)
}

func (c *coder) blob(p *[]byte) {
	if !c.decoding {
		c.out = binary.BigEndian.AppendUint32(c.out, uint32(len(*p)))
		c.out = append(c.out, *p...)
	} else if b := c.take(c.length()); b != nil {
		*p = slices.Clone(b)
	}
}

func (c *coder) text(p *string) {
	if !c.decoding {
		c.out = binary.BigEndian.AppendUint32(c.out, uint32(len(*p)))
		c.out = append(c.out, *p...)
	} else if b := c.take(c.length()); b != nil {
		*p = string(b)
	}
}

// Fields by type. The inline types of Pegasus stand under a struct's type without a stop byte.

func (c *coder) boolField(id int16, p *bool) {
	if c.field(id, tBool) {
		c.bool(p)
	}
}

func (c *coder) i64Field(id int16, p *int64) {
	if c.field(id, tI64) {
		c.i64(p)
	}
}

func (c *coder) textField(id int16, p *string) {
	if c.field(id, tString) {
		c.text(p)
	}
}

func (c *coder) blobField(id int16, p *[]byte) {
	if c.field(id, tStruct) {
		c.blob(p)
	}
}

func (c *coder) errorField(id int16, p *ErrorCode) {
	if c.field(id, tStruct) {
		c.text((*string)(p))
	}
}

func (c *coder) structField(id int16, m Message) {
	if c.field(id, tStruct) {
		c.structure(m)
	}
}

// i32Field takes plain numbers and enumerations.
func i32Field[T ~int32](c *coder, id int16, p *T) {
	if c.field(id, tI32) {
		n := int32(*p)
		c.i32(&n)
		*p = T(n)
	}
}

// optional is a field that is left out when it is nil.
func optional[T any](c *coder, id int16, typ byte, p **T, value func(*T)) {
	if !c.decoding && *p == nil || !c.field(id, typ) {
		return
	}
	if c.decoding {
		*p = new(T)
	}
	value(*p)
}

// list is a list of values of one type. Decoding leaves an empty list that is not nil.
func list[T any](c *coder, id int16, elem byte, p *[]T, value func(*T)) {
	if c.field(id, tList) {
		elements(c, elem, p, value)
	}
}

// i32Set is a set of numbers, which looks like a list but for its type.
func i32Set(c *coder, id int16, p *[]int32) {
	if c.field(id, tSet) {
		elements(c, tI32, p, c.i32)
	}
}

// elements is what a list or set holds.
func elements[T any](c *coder, elem byte, p *[]T, value func(*T)) {
	if !c.decoding {
		c.out = append(c.out, elem)
		c.out = binary.BigEndian.AppendUint32(c.out, uint32(len(*p)))
		for i := range *p {
			value(&(*p)[i])
		}
		return
	}
	var typ byte
	c.byte(&typ)
	n := c.length()
	if n > maxElements {
		c.fail("a list of %d elements", n)
		return
	}
	if typ != elem {
		c.skipMany(n, typ)
		return
	}
	*p = make([]T, 0, min(n, 16))
	for range n {
		var v T
		if value(&v); c.err != nil {
			return
		}
		*p = append(*p, v)
	}
}

func textList(c *coder, id int16, p *[]string) { list(c, id, tString, p, c.text) }

func addressList(c *coder, id int16, p *[]Address) {
	list(c, id, tStruct, p, func(a *Address) { c.u64((*uint64)(a)) })
}

// hostPortList is optional: nil is left out.
func hostPortList(c *coder, id int16, p *[]HostPort) {
	if c.decoding || *p != nil {
		list(c, id, tStruct, p, func(h *HostPort) { h.inline(c) })
	}
}

// textMap is written in the order of its keys, as the servers do.
func textMap(c *coder, id int16, p *map[string]string) {
	if !c.field(id, tMap) {
		return
	}
	if !c.decoding {
		c.out = append(c.out, tString, tString)
		c.out = binary.BigEndian.AppendUint32(c.out, uint32(len(*p)))
		for _, key := range slices.Sorted(maps.Keys(*p)) {
			value := (*p)[key]
			c.text(&key)
			c.text(&value)
		}
		return
	}
	var key, value byte
	c.byte(&key)
	c.byte(&value)
	n := c.length()
	if key != tString || value != tString {
		c.skipMany(n, key, value)
		return
	}
	*p = map[string]string{}
	for range n {
		var k, v string
		c.text(&k)
		if c.text(&v); c.err != nil {
			return
		}
		(*p)[k] = v
	}
}
