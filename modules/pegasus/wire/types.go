package wire

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc64"
	"net"
	"net/netip"
	"strconv"
)

// Address is an IPv4 address with a port. The zero value is none.
type Address uint64

// ParseAddress reads "10.0.0.1:34801".
func ParseAddress(text string) (Address, error) {
	ap, err := netip.ParseAddrPort(text)
	if err != nil || !ap.Addr().Is4() || ap.Port() == 0 {
		return 0, fmt.Errorf("%q is no IPv4 address with a port; write it as 10.0.0.1:34801", text)
	}
	return AddressOf(ap), nil
}

// AddressOf converts an IPv4 address; anything else is the zero Address.
func AddressOf(ap netip.AddrPort) Address {
	ip := ap.Addr().Unmap()
	if !ip.Is4() {
		return 0
	}
	b := ip.As4()
	return Address(uint64(binary.BigEndian.Uint32(b[:]))<<32 | uint64(ap.Port())<<16 | 1)
}

// String is the address as a.b.c.d:port; "-" for none.
func (a Address) String() string {
	if a&3 != 1 {
		return "-"
	}
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], uint32(a>>32))
	return netip.AddrPortFrom(netip.AddrFrom4(b), uint16(a>>16)).String()
}

// HostPort is an address by host name, which servers since 2.6 give beside the numeric one.
type HostPort struct {
	Host string
	Port uint16
	Kind byte // 0 none, 1 a host, 2 a group
}

// String is host:port.
func (h HostPort) String() string { return net.JoinHostPort(h.Host, strconv.Itoa(int(h.Port))) }

func (h *HostPort) inline(c *coder) {
	port := int16(h.Port)
	c.text(&h.Host)
	c.i16(&port)
	c.byte(&h.Kind)
	h.Port = uint16(port)
}

func hostPortField(c *coder, id int16, p **HostPort) {
	optional(c, id, tStruct, p, func(h *HostPort) { h.inline(c) })
}

func addressField(c *coder, id int16, p *Address) {
	if c.field(id, tStruct) {
		c.u64((*uint64)(p))
	}
}

// Node is a server by its address and, where the cluster has them, by its host and port.
type Node struct {
	Address  Address
	HostPort *HostPort
}

// String is the host and port where there are any, else the address: what the cluster itself prints.
func (n Node) String() string {
	if n.HostPort != nil && n.HostPort.Kind != 0 {
		return n.HostPort.String()
	}
	return n.Address.String()
}

// GPID names a partition: table and index.
type GPID struct {
	App, Index int32
}

// ParseGPID reads "2.3".
func ParseGPID(text string) (GPID, error) {
	var g GPID
	var rest string
	if n, _ := fmt.Sscanf(text, "%d.%d%s", &g.App, &g.Index, &rest); n != 2 || g.App <= 0 || g.Index < 0 {
		return GPID{}, fmt.Errorf("%q is no partition; write it as TABLE_ID.INDEX, such as 2.3", text)
	}
	return g, nil
}

// String is "app.index".
func (g GPID) String() string { return fmt.Sprintf("%d.%d", g.App, g.Index) }

// Compare orders by table, then index.
func (g GPID) Compare(o GPID) int {
	return cmp.Or(cmp.Compare(g.App, o.App), cmp.Compare(g.Index, o.Index))
}

func (g *GPID) inline(c *coder) {
	c.i32(&g.Index)
	c.i32(&g.App)
}

func gpidField(c *coder, id int16, p *GPID) {
	if c.field(id, tStruct) {
		p.inline(c)
	}
}

// Key is what a value is stored under: a hash key, which chooses the partition, and a sort key. Make
// one with NewKey; the zero value cannot be sent, because a server aborts on an empty key.
type Key struct {
	raw []byte
}

var errKey = errors.New("a key needs a hash key or a sort key, and a hash key has at most 65534 bytes")

// NewKey makes a key.
func NewKey(hashKey, sortKey []byte) (Key, error) {
	if len(hashKey)+len(sortKey) == 0 || len(hashKey) >= 0xffff {
		return Key{}, errKey
	}
	raw := binary.BigEndian.AppendUint16(nil, uint16(len(hashKey)))
	return Key{raw: append(append(raw, hashKey...), sortKey...)}, nil
}

// Split gives the two keys; ok is false for bytes from the wire that are no such pair.
func (k Key) Split() (hashKey, sortKey []byte, ok bool) {
	if len(k.raw) < 2 {
		return nil, nil, false
	}
	n := int(binary.BigEndian.Uint16(k.raw))
	if n > len(k.raw)-2 {
		return nil, nil, false
	}
	return k.raw[2 : 2+n], k.raw[2+n:], true
}

// Bytes is the key as it is stored.
func (k Key) Bytes() []byte { return k.raw }

// Hash is the partition hash.
func (k Key) Hash() uint64 {
	hashKey, sortKey, _ := k.Split()
	if len(hashKey) == 0 {
		return keyHash(sortKey)
	}
	return keyHash(hashKey)
}

func keyHash(b []byte) uint64 { return crc64.Checksum(b, crc64.MakeTable(0x9a6c9329ac4bc9b5)) }

// Table is a table as data requests address it.
type Table struct {
	ID             int32
	PartitionCount int32
}

// Partition is where a key lives.
func (t Table) Partition(k Key) GPID {
	return GPID{App: t.ID, Index: int32(k.Hash() % uint64(t.PartitionCount))}
}

func (k *Key) inline(c *coder) {
	c.blob(&k.raw)
	if c.decoding && c.err == nil && len(k.raw) == 0 {
		c.fail("an empty key")
	}
}
