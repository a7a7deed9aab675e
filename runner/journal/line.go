package journal

import (
	"bytes"
	"encoding/hex"
	"hash/crc32"
)

// A record is a line: eight digits of checksum, a space, one JSON object. The checksum is CRC-32C over the object.
const headLen = 9

// appendLine adds a record's line to a buffer.
func appendLine(to, object []byte) []byte {
	var sum [4]byte
	n := checksum(object)
	sum[0], sum[1], sum[2], sum[3] = byte(n>>24), byte(n>>16), byte(n>>8), byte(n)
	to = hex.AppendEncode(to, sum[:])
	to = append(to, ' ')
	to = append(to, object...)
	return append(to, '\n')
}

// object gives the object of a line without its end; false when the line is not as it was written.
func object(line []byte) ([]byte, bool) {
	if len(line) < headLen+2 || line[8] != ' ' {
		return nil, false
	}
	var sum [4]byte
	if _, err := hex.Decode(sum[:], line[:8]); err != nil || bytes.ContainsAny(line[:8], "ABCDEF") {
		return nil, false
	}
	n := uint32(sum[0])<<24 | uint32(sum[1])<<16 | uint32(sum[2])<<8 | uint32(sum[3])
	return line[headLen:], n == checksum(line[headLen:])
}

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }
