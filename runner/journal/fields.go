package journal

import (
	"bytes"
	"encoding/json"
	"errors"
)

// errShape is an object that encoding/json would not have written so.
var errShape = errors.New("it is no JSON object as pegbook writes them")

// fields gives an object's fields to take, in order, until it says that it has enough. Of a field that nobody wants
// nothing is decoded: results are most of a journal, and where hosts stand does not depend on them. The checksum has
// shown that the object is as it was written, so only its outline is looked at.
func fields(object []byte, take func(name, value []byte) bool) error {
	rest, ok := bytes.CutPrefix(object, []byte{'{'})
	if !ok {
		return errShape
	}
	for len(rest) > 0 && rest[0] == '"' {
		n := valueLen(rest)
		if n < 2 || n >= len(rest) || rest[n] != ':' {
			return errShape
		}
		name := rest[1 : n-1]
		rest = rest[n+1:]
		if n = valueLen(rest); n < 1 || n >= len(rest) {
			return errShape
		}
		if !take(name, rest[:n]) {
			return nil
		}
		if rest = rest[n:]; rest[0] == ',' {
			rest = rest[1:]
		}
	}
	if len(rest) != 1 || rest[0] != '}' {
		return errShape
	}
	return nil
}

// valueLen is how long the value is that a text begins with; 0 where it does not end.
func valueLen(b []byte) int {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			n := stringLen(b[i:])
			if n == 0 {
				return 0
			}
			i += n - 1
			if depth == 0 {
				return i + 1
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i // of the object around a number or word
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',':
			if depth == 0 {
				return i
			}
		}
	}
	return 0
}

// stringLen looks at each byte once or twice, whatever is in it: hosts choose what commands print.
func stringLen(b []byte) int {
	quote := 0
	for i := 1; i < len(b); i++ {
		if quote < i {
			next := bytes.IndexByte(b[i:], '"')
			if next < 0 {
				return 0
			}
			quote = i + next
		}
		escape := bytes.IndexByte(b[i:quote], '\\')
		if escape < 0 {
			return quote + 1
		}
		i += escape + 1 // and what is escaped
	}
	return 0
}

// text is a string's text.
func text(value []byte) (string, error) {
	if len(value) >= 2 && value[0] == '"' && bytes.IndexByte(value, '\\') < 0 {
		return string(value[1 : len(value)-1]), nil
	}
	var s string
	err := json.Unmarshal(value, &s)
	return s, err
}
