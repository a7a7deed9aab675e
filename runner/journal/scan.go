package journal

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// DamageError is a place of a journal that is not as it was written.
type DamageError struct {
	File   string `json:"file"`
	Block  int    `json:"block"`
	Offset int64  `json:"offset"`
	What   string `json:"what"`
}

// Error says where and what.
func (e *DamageError) Error() string {
	if e.Block == 0 { // a file without blocks
		return fmt.Sprintf("%s: %s", e.File, e.What)
	}
	return fmt.Sprintf("%s: block %d (byte %d): %s", e.File, e.Block, e.Offset, e.What)
}

// TornError is a block at the end that has not been written whole, as a power loss leaves it. It was never
// confirmed to the run, so nothing is lost with it.
type TornError struct {
	File  string `json:"file"`
	Block int    `json:"block"`
	Bytes int64  `json:"bytes"`
}

// Error says where.
func (e *TornError) Error() string {
	return fmt.Sprintf("%s: block %d, the last, was not written whole (%d bytes); it is left out", e.File, e.Block, e.Bytes)
}

// blocks reads a file of blocks.
type blocks struct {
	name string
	seed uint32
	from io.ReaderAt
	size int64
	r    *bufio.Reader
	off  int64  // where r stands
	body []byte // of the block read last
	// number is that of the last block that was found.
	number uint32
	// lost says that what the next blocks go on from is missing.
	lost bool
}

func newBlocks(from io.ReaderAt, size int64, run, name string) *blocks {
	b := &blocks{name: name, seed: seedOf(run, name), from: from, size: size}
	b.seek(0)
	return b
}

func (b *blocks) seek(off int64) {
	b.off = off
	rest := io.NewSectionReader(b.from, off, b.size-off)
	if b.r == nil {
		b.r = bufio.NewReaderSize(rest, 1<<18)
		return
	}
	b.r.Reset(rest)
}

// next gives the next block, its body valid until the next call. io.EOF ends the file, and so does *TornError; after
// *DamageError there may be more.
func (b *blocks) next() (head, []byte, error) {
	for {
		start := b.off
		h, err := b.read(start)
		var damage *DamageError
		if errors.As(err, &damage) {
			b.lost = true
			b.seek(b.findAnew(start + 1))
			if gone := b.off - start; b.off < b.size {
				damage.What += fmt.Sprintf("; the %d bytes from there are left out", gone)
			} else {
				damage.What += fmt.Sprintf("; all from there is left out (%d bytes)", gone)
			}
		}
		if err != nil {
			return h, nil, err
		}
		if err := b.follows(h, start); err != nil {
			return h, nil, err
		}
		if b.lost = b.lost && !h.anew; !b.lost {
			return h, b.body, nil
		}
	}
}

// follows checks that a block is the one behind the last.
func (b *blocks) follows(h head, start int64) error {
	want := b.number + 1
	switch {
	case h.number == want, b.lost && h.number > want: // that some are missing has been told
		b.number = h.number
		return nil
	case h.number < want:
		return b.damaged(start, fmt.Sprintf("block %d stands here again", h.number))
	}
	b.number, b.lost = h.number-1, true
	if h.anew {
		b.seek(start)
	} else {
		b.number = h.number
	}
	return &DamageError{File: b.name, Block: int(want), Offset: start, What: fmt.Sprintf("blocks are missing, up to block %d", h.number)}
}

// read reads the block at a place.
func (b *blocks) read(start int64) (head, error) {
	var raw [headLen]byte
	n, err := io.ReadFull(b.r, raw[:])
	b.off += int64(n)
	switch {
	case errors.Is(err, io.EOF):
		return head{}, io.EOF
	case errors.Is(err, io.ErrUnexpectedEOF):
		return head{}, b.torn(start)
	case err != nil:
		return head{}, err
	}
	h, ok := parseHead(raw[:], b.seed)
	if !ok {
		if b.emptyFrom(start) { // some file systems leave zeros where data had not reached the disk
			return h, b.torn(start)
		}
		return h, b.damaged(start, "no block of this run begins here")
	}
	past := start + headLen + int64(h.length) + tailLen
	if past > b.size {
		return h, b.torn(start)
	}
	if cap(b.body) < int(h.length)+tailLen {
		b.body = make([]byte, h.length+tailLen)
	}
	b.body = b.body[:h.length+tailLen]
	n, err = io.ReadFull(b.r, b.body)
	if b.off += int64(n); err != nil {
		return h, err
	}
	body, tail := b.body[:h.length], b.body[h.length:]
	b.body = body
	switch {
	case tail[tailLen-1] == end && binary.BigEndian.Uint32(tail) == checksum(h.sum, body):
		return h, nil
	case tail[tailLen-1] == 0 && past == b.size:
		return h, b.torn(start)
	}
	return h, b.damaged(start, "the block was changed: its checksum does not fit")
}

func (b *blocks) torn(start int64) error {
	return &TornError{File: b.name, Block: int(b.number) + 1, Bytes: b.size - start}
}

func (b *blocks) damaged(start int64, what string) error {
	return &DamageError{File: b.name, Block: int(b.number) + 1, Offset: start, What: what}
}

// emptyFrom says whether there are zeros only.
func (b *blocks) emptyFrom(start int64) bool {
	r := bufio.NewReader(io.NewSectionReader(b.from, start, b.size-start))
	for {
		c, err := r.ReadByte()
		if err != nil {
			return errors.Is(err, io.EOF)
		}
		if c != 0 {
			return false
		}
	}
}

// findAnew gives the place of the next block with which deflating begins anew; the file's end when there is none.
func (b *blocks) findAnew(from int64) int64 {
	const piece = 1 << 18
	buf := make([]byte, piece)
	for from < b.size {
		n, err := b.from.ReadAt(buf[:min(piece, b.size-from)], from)
		if n < headLen || err != nil && !errors.Is(err, io.EOF) {
			return b.size
		}
		for at := 0; at+headLen <= n; at++ {
			next := bytes.Index(buf[at:n], markNew[:])
			if next < 0 || at+next+headLen > n {
				break
			}
			at += next
			if _, ok := parseHead(buf[at:], b.seed); ok {
				return from + int64(at)
			}
		}
		from += int64(n - headLen + 1)
	}
	return b.size
}

// scanned is what a file was found to be.
type scanned struct {
	// size and number are where it can be gone on with.
	size   int64
	number uint32
	torn   *TornError
	damage []*DamageError
}

// reaches checks that a file has as many blocks as it had when the run ended: one that was cut between two blocks looks
// as if it had never been longer.
func (s *scanned) reaches(name string, blocks uint32) {
	if s.number >= blocks {
		return
	}
	s.torn = nil
	s.damage = append(s.damage, &DamageError{File: name, Block: int(s.number) + 1, Offset: s.size, What: fmt.Sprintf("the file was cut here: %d blocks are missing", blocks-s.number)})
}

// scan reads a file of a run to its end and hands every record to take, which may keep it. Without take the blocks
// are looked at and not unpacked.
func scan(path, run string, seal *sealer, take func(record []byte) error) (scanned, error) {
	var s scanned
	f, err := openOwn(path, os.O_RDONLY)
	if err != nil {
		return s, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	info, err := f.Stat()
	if err != nil {
		return s, err
	}
	b := newBlocks(f, info.Size(), run, filepath.Base(path))
	u := unpacker{seal: seal}
	for {
		start := b.off
		h, body, err := b.next()
		var damage *DamageError
		switch {
		case errors.Is(err, io.EOF), errors.As(err, &s.torn):
			s.size, s.number = start, b.number
			return s, nil
		case errors.As(err, &damage):
			s.damage = append(s.damage, damage)
			continue
		case err != nil:
			return s, err
		case take == nil:
			continue
		}
		records, err := u.records(h, body)
		if errors.Is(err, ErrSealed) {
			return s, err
		}
		if err != nil {
			b.lost = true
			s.damage = append(s.damage, &DamageError{File: b.name, Block: int(h.number), Offset: start, What: fmt.Sprintf("the block cannot be unpacked: %v", err)})
			continue
		}
		if err := eachRecord(records, take); err != nil {
			return s, err
		}
	}
}

func eachRecord(records []byte, take func(record []byte) error) error {
	for record := range bytes.Lines(records) {
		if err := take(record[:len(record)-1]); err != nil {
			return err
		}
	}
	return nil
}
