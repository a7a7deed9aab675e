package modules

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// Mode is permissions as a user writes them: octal ("0644") or symbolic ("u=rw,go=r", "a+x"). The
// zero value is not given.
type Mode struct {
	text string
}

// ParseMode reads permissions; an empty text is the zero Mode.
func ParseMode(text string) (Mode, error) {
	m := Mode{text: text}
	if text == "" {
		return m, nil
	}
	if _, err := m.apply(0, false); err != nil {
		return Mode{}, err
	}
	return m, nil
}

// modeOf catches YAML's octal trap: 0644 without quotes arrives as the number 420, and 644 as 644.
func modeOf(text string, raw json.RawMessage) (Mode, error) {
	if len(raw) > 0 && raw[0] != '"' {
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return Mode{}, fmt.Errorf("%s are no permissions", text)
		}
		if !meantAsOctal(uint32(n), text) {
			return Mode{}, &ArgumentError{Problem: fmt.Sprintf("%s without quotes is the number %#o in octal", text, n),
				Hint: fmt.Sprintf("write the permissions in quotes: \"%04s\"", text)}
		}
		return Mode{text: fmt.Sprintf("%04o", n)}, nil
	}
	return ParseMode(text)
}

// meantAsOctal tells 0644, which YAML reads as the number 420, from 644, which somebody wrote without
// thinking of YAML and which is 0o1204. Where both readings are permissions that people use, the number
// is refused, except for 0777.
func meantAsOctal(n uint32, text string) bool {
	if n == 0 || n == 0o777 {
		return true
	}
	asWritten, err := strconv.ParseUint(text, 8, 32)
	return n <= 0o7777 && usual(n) && (err != nil || asWritten > 0o7777 || !usual(uint32(asWritten)))
}

// usual permissions give nobody w without r, and the group no more than the owner, and others no more
// than the group.
func usual(mode uint32) bool {
	user, group, others := mode>>6&7, mode>>3&7, mode&7
	for _, bits := range []uint32{user, group, others} {
		if bits&2 != 0 && bits&4 == 0 {
			return false
		}
	}
	return user&4 != 0 && group&^user == 0 && others&^group == 0
}

// preserved is what a task writes for the permissions of the file that is copied.
const preserved = "preserve"

// OctalMode is permissions from their bits.
func OctalMode(bits uint32) Mode { return Mode{fmt.Sprintf("%04o", bits)} }

// Preserve says that the permissions are to be those of the file that is copied.
func (m Mode) Preserve() bool { return m.text == preserved }

// IsZero says whether no permissions were given.
func (m Mode) IsZero() bool { return m.text == "" }

// String is the permissions as they were written.
func (m Mode) String() string { return m.text }

// Apply gives the permission bits a file with these old ones should have. Octal permissions do not
// depend on them. X in symbolic permissions sets x for directories and files somebody may execute.
func (m Mode) Apply(old uint32, directory bool) uint32 {
	mode, err := m.apply(old, directory)
	if err != nil {
		panic("modules: mode was not parsed: " + m.text)
	}
	return mode
}

func (m Mode) apply(old uint32, directory bool) (uint32, error) {
	if m.text == "" {
		return old, nil
	}
	if n, err := strconv.ParseUint(strings.TrimPrefix(m.text, "0o"), 8, 32); err == nil {
		if n > 0o7777 {
			return 0, fmt.Errorf("%s has more than the permission bits", m.text)
		}
		return uint32(n), nil
	}
	mode := old
	for clause := range strings.SplitSeq(m.text, ",") {
		var err error
		if mode, err = applyClause(mode, clause, directory); err != nil {
			return 0, err
		}
	}
	return mode, nil
}

func applyClause(mode uint32, clause string, directory bool) (uint32, error) {
	i := strings.IndexAny(clause, "+-=")
	if i < 0 {
		return 0, fmt.Errorf(`%q are no permissions; write "0644" or "u=rw,go=r"`, clause)
	}
	var who uint32
	for _, c := range clause[:i] {
		switch c {
		case 'u':
			who |= 0o4700
		case 'g':
			who |= 0o2070
		case 'o':
			who |= 0o1007
		case 'a':
			who |= 0o7777
		default:
			return 0, fmt.Errorf("%q: %q is none of u, g, o and a", clause, c)
		}
	}
	if i == 0 {
		who = 0o7777
	}
	var bits uint32
	for _, c := range clause[i+1:] {
		switch c {
		case 'r':
			bits |= 0o444
		case 'w':
			bits |= 0o222
		case 'x':
			bits |= 0o111
		case 'X':
			if directory || mode&0o111 != 0 {
				bits |= 0o111
			}
		case 's':
			bits |= 0o6000
		case 't':
			bits |= 0o1000
		default:
			return 0, fmt.Errorf("%q: %q is none of r, w, x, X, s and t", clause, c)
		}
	}
	bits &= who
	switch clause[i] {
	case '+':
		return mode | bits, nil
	case '-':
		return mode &^ bits, nil
	}
	return mode&^(who&0o777) | bits, nil
}
