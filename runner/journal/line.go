package journal

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
)

// A record is a line: eight digits of checksum, a space, one JSON object. The checksum is CRC-32C over the checksum
// of the line before and the object, so that a line that is missing, moved or put in shows as well.

const (
	headLen = 9
	// mostLine is how long a line may be that is read: a file that somebody has put something else into must not
	// fill the memory.
	mostLine = 64 << 20
)

// appendLine adds a record's line to a buffer and gives its checksum. before is that of the line before.
func appendLine(to, object []byte, before uint32) ([]byte, uint32) {
	sum := checksum(before, object)
	to = hex.AppendEncode(to, []byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)})
	to = append(to, ' ')
	to = append(to, object...)
	return append(to, '\n'), sum
}

func checksum(before uint32, object []byte) uint32 {
	head := [...]byte{byte(before >> 24), byte(before >> 16), byte(before >> 8), byte(before)}
	table := crc32.MakeTable(crc32.Castagnoli)
	return crc32.Update(crc32.Checksum(head[:], table), table, object)
}

// stated is the checksum that a line gives itself.
func stated(line []byte) (uint32, bool) {
	if len(line) < headLen || line[headLen-1] != ' ' {
		return 0, false
	}
	var sum [4]byte
	if _, err := hex.Decode(sum[:], line[:8]); err != nil || bytes.ContainsAny(line[:8], "ABCDEF") {
		return 0, false
	}
	return uint32(sum[0])<<24 | uint32(sum[1])<<16 | uint32(sum[2])<<8 | uint32(sum[3]), true
}

// DamageError is a place of a journal that is not as it was written.
type DamageError struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Offset int64  `json:"offset"`
	What   string `json:"what"`
}

// Error says where and what.
func (e *DamageError) Error() string {
	return fmt.Sprintf("%s:%d: (byte %d) %s", e.File, e.Line, e.Offset, e.What)
}

// TornError is a record at the end that has not been written whole, as a power loss leaves it. It was never
// confirmed to the run, so nothing is lost with it.
type TornError struct {
	File  string `json:"file"`
	Line  int    `json:"line"`
	Bytes int64  `json:"bytes"`
}

// Error says where.
func (e *TornError) Error() string {
	return fmt.Sprintf("%s:%d: the last record was not written whole (%d bytes); it is left out", e.File, e.Line, e.Bytes)
}

// lines reads a file of records.
type lines struct {
	r    *bufio.Reader
	name string
	long []byte // a line that is longer than the reader's buffer
	// line and end are the number and end of the line read last, before its stated checksum.
	line   int
	end    int64
	before uint32
}

func newLines(r io.Reader, name string) *lines {
	return &lines{r: bufio.NewReaderSize(r, 1<<18), name: name}
}

// next gives the object of the next line, valid until the next call. io.EOF ends the file, and so does *TornError;
// after *DamageError there may be more.
func (l *lines) next() ([]byte, error) {
	start := l.end
	raw, err := l.read()
	l.line++
	switch {
	case errors.Is(err, io.EOF) && len(raw) == 0:
		return nil, io.EOF
	case errors.Is(err, io.EOF): // also the zeros that some file systems leave where data had not reached the disk
		return nil, &TornError{File: l.name, Line: l.line, Bytes: l.end - start}
	case errors.Is(err, errLong):
		return nil, l.damaged(start, "the line is longer than any record")
	case err != nil:
		return nil, err
	}
	raw = raw[:len(raw)-1]
	sum, ok := stated(raw)
	if !ok {
		return nil, l.damaged(start, "this is no record")
	}
	object := raw[headLen:]
	good := sum == checksum(l.before, object)
	l.before = sum
	if !good {
		return nil, l.damaged(start, "the checksum does not fit: the record was changed, or the one before it is missing or damaged")
	}
	return object, nil
}

func (l *lines) damaged(start int64, what string) error {
	return &DamageError{File: l.name, Line: l.line, Offset: start, What: what}
}

var errLong = errors.New("the line is too long")

// read gives a line with its end; at the end of the file, what there is.
func (l *lines) read() ([]byte, error) {
	part, err := l.r.ReadSlice('\n')
	l.end += int64(len(part))
	if !errors.Is(err, bufio.ErrBufferFull) {
		return part, err
	}
	l.long = append(l.long[:0], part...)
	for errors.Is(err, bufio.ErrBufferFull) {
		part, err = l.r.ReadSlice('\n')
		l.end += int64(len(part))
		if len(l.long)+len(part) <= mostLine {
			l.long = append(l.long, part...)
		} else {
			l.long = append(l.long[:0], make([]byte, mostLine)...)
		}
	}
	if len(l.long) >= mostLine {
		return l.long, errLong
	}
	return l.long, err
}

// scanned is what a file was found to be.
type scanned struct {
	// size and before are where it can be gone on with.
	size   int64
	before uint32
	torn   *TornError
	damage []*DamageError
}

// scan reads a file to its end and hands every whole record's object to take, which must not keep it.
func scan(path string, take func(object []byte) error) (scanned, error) {
	var s scanned
	f, err := openOwn(path, os.O_RDONLY)
	if err != nil {
		return s, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	l := newLines(f, filepath.Base(path))
	for {
		start := l.end
		object, err := l.next()
		var damage *DamageError
		switch {
		case errors.Is(err, io.EOF), errors.As(err, &s.torn):
			s.size, s.before = start, l.before
			return s, nil
		case errors.As(err, &damage):
			s.damage = append(s.damage, damage)
		case err != nil:
			return s, err
		default:
			if err := take(object); err != nil {
				return s, err
			}
		}
	}
}
