package journal

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// Records are JSON objects, one a line. A file of them is a sequence of blocks: what was to be written at one time,
// deflated and, of what the run remembers, sealed. A block is written whole or not at all.
//
//	mark      4 bytes: "pgb*", or "pgb+" where deflating goes on from the block before
//	number    4 bytes, from 1
//	unpacked  4 bytes: how long the records are
//	length    4 bytes: how long the body is
//	sum       4 bytes: CRC-32C over the names of run and file, and the head so far
//	body
//	sum       4 bytes: CRC-32C over the body, begun with the head's
//	end       a line feed: where there is none the block was not written to its end
//
// Numbers are big-endian. That deflating goes on makes small blocks small, too: most of a record has stood in
// one before. It begins anew now and then, so that damage makes no more than what is near it unreadable.
const (
	headLen = 20
	tailLen = 5
	end     = '\n'
	// anewAfter is how many bytes of records go by before deflating begins anew.
	anewAfter = 128 << 10
	// mostBlock is how much a block may hold, or unfold to: a file that somebody has put something else into must not
	// fill the memory.
	mostBlock = 64 << 20
	// level is where deflating a run costs least beside what it saves: single records still find their like.
	level = 2
)

var markNew, markOn = [4]byte{'p', 'g', 'b', '*'}, [4]byte{'p', 'g', 'b', '+'}

// head is what a block begins with.
type head struct {
	anew             bool
	number           uint32
	unpacked, length uint32
	sum              uint32
}

func (h *head) put(to []byte, seed uint32) []byte {
	mark := markOn
	if h.anew {
		mark = markNew
	}
	at := len(to)
	to = append(to, mark[:]...)
	for _, n := range []uint32{h.number, h.unpacked, h.length} {
		to = binary.BigEndian.AppendUint32(to, n)
	}
	h.sum = checksum(seed, to[at:])
	return binary.BigEndian.AppendUint32(to, h.sum)
}

// parseHead reads a head; false when it is none.
func parseHead(b []byte, seed uint32) (head, bool) {
	mark := [4]byte(b)
	h := head{anew: mark == markNew, number: binary.BigEndian.Uint32(b[4:]), unpacked: binary.BigEndian.Uint32(b[8:]),
		length: binary.BigEndian.Uint32(b[12:]), sum: binary.BigEndian.Uint32(b[16:])}
	return h, (h.anew || mark == markOn) && h.sum == checksum(seed, b[:16]) && h.unpacked <= mostBlock && h.length <= mostBlock
}

func checksum(seed uint32, b []byte) uint32 {
	return crc32.Update(seed, crc32.MakeTable(crc32.Castagnoli), b)
}

// seedOf makes the blocks of one file of one run differ from those of all others.
func seedOf(run, file string) uint32 { return checksum(0, []byte(run+"/"+file)) }

// sealer seals the bodies of blocks.
type sealer struct {
	key *key
	run string
}

func (s *sealer) place(number uint32) string { return fmt.Sprintf("steps|%s|%d", s.run, number) }

// packer makes blocks. It is used by one goroutine.
type packer struct {
	seed   uint32
	seal   *sealer // nil: the file is not sealed
	number uint32  // of the block made last
	packed bytes.Buffer
	flate  *flate.Writer
	since  int // bytes since deflating began anew
}

// block adds the block of some records to a buffer.
func (p *packer) block(to, records []byte) []byte {
	h := head{anew: p.flate == nil || p.since >= anewAfter, number: p.number + 1, unpacked: uint32(len(records))}
	p.packed.Reset()
	if p.flate == nil {
		p.flate, _ = flate.NewWriter(&p.packed, level) //nolint:errcheck // the level is one of flate's
	} else if h.anew {
		p.flate.Reset(&p.packed)
	}
	if h.anew {
		p.since = 0
	}
	_, err := p.flate.Write(records)
	if err = errors.Join(err, p.flate.Flush()); err != nil {
		panic("journal: deflate into memory: " + err.Error())
	}
	p.since += len(records)
	p.number++
	body := p.packed.Bytes()
	if p.seal != nil {
		body = p.seal.key.seal(p.seal.place(h.number), body)
	}
	h.length = uint32(len(body))
	to = append(h.put(to, p.seed), body...)
	return append(binary.BigEndian.AppendUint32(to, checksum(h.sum, body)), end)
}

// undo takes the block made last back, since it was not written: deflating begins anew with the next.
func (p *packer) undo() {
	p.number--
	p.since = anewAfter
}

// unpacker is the other side of a packer.
type unpacker struct {
	seal  *sealer
	flate io.ReadCloser
	rest  bytes.Buffer // what flate has not read yet; it takes single bytes, so none too many
}

// records gives the records of a block, in memory of their own.
func (u *unpacker) records(h head, body []byte) ([]byte, error) {
	if u.seal != nil {
		var err error
		if body, err = u.seal.key.unseal(u.seal.place(h.number), body); err != nil {
			return nil, err
		}
	}
	if h.anew {
		u.rest.Reset()
		if u.flate == nil {
			u.flate = flate.NewReader(&u.rest)
		} else if err := u.flate.(flate.Resetter).Reset(&u.rest, nil); err != nil {
			return nil, err
		}
	}
	u.rest.Write(body)
	records := make([]byte, h.unpacked)
	_, err := io.ReadFull(u.flate, records)
	return records, err
}
