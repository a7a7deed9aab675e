package vars

import (
	"errors"
	"fmt"
	"strings"

	"github.com/Masterminds/sprig/v3"
)

const (
	maxRandom   = 4096
	hashingWork = 20_000_000 // bcrypt takes some 60 ms, scrypt as much
)

// randomTable is functions that use chance, and hashes of passwords.
func randomTable() []tableRow {
	s := sprig.GenericFuncMap()
	return []tableRow{
		{"uuidv4", "A random UUID. Another one at each use.", unsteady(s["uuidv4"]), nil},
		{"randAlphaNum N", "N random letters and digits. Others at each use.", randomText(s["randAlphaNum"]), nil},
		{"randAlpha N", "N random letters. Others at each use.", randomText(s["randAlpha"]), nil},
		{"randNumeric N", "N random digits. Others at each use.", randomText(s["randNumeric"]), nil},
		{"randAscii N", "N random printable characters. Others at each use.", randomText(s["randAscii"]), nil},
		{"randBytes N", "N random bytes, in base 64. Others at each use.", randomBytes(s["randBytes"]), nil},
		{"randInt MIN MAX", "A random whole number from MIN up to, and without, MAX. Another one at each use.", randomInt(s["randInt"]), nil},
		{"shuffle TEXT", "The characters in random order. Another one at each use.", unsteady(s["shuffle"]), nil},
		{"bcrypt PASSWORD", "A bcrypt hash. Another one at each use.", hashing(unsteady(func(text string) (string, error) { return hashOf(s["bcrypt"].(func(string) string)(text)) })), nil},
		{"htpasswd USER PASSWORD", "A line of an htpasswd file, with a bcrypt hash. Another one at each use.", hashing(unsteady(func(user, text string) (string, error) {
			return hashOf(s["htpasswd"].(func(string, string) string)(user, text))
		})), nil},
		{"derivePassword COUNTER KIND MASTER USER SITE", "The password of a site after the Master Password algorithm; KIND is long, medium, short, basic, maximum or pin.",
			hashing(newFunction("derivePassword", derivePassword(s["derivePassword"]))), nil},
	}
}

func randomText(sprigs any) *function {
	draw := sprigs.(func(int) string)
	return unsteady(func(n int) (string, error) {
		if n < 0 || n > maxRandom {
			return "", fmt.Errorf("%d characters are outside 0 to %d", n, maxRandom)
		}
		return draw(n), nil
	})
}

func randomBytes(sprigs any) *function {
	draw := sprigs.(func(int) (string, error))
	return unsteady(func(n int) (string, error) {
		if n < 0 || n > maxRandom {
			return "", fmt.Errorf("%d bytes are outside 0 to %d", n, maxRandom)
		}
		return draw(n)
	})
}

func randomInt(sprigs any) *function {
	draw := sprigs.(func(int, int) int)
	return unsteady(func(from, to int) (int, error) {
		if to <= from || to-from <= 0 {
			return 0, fmt.Errorf("there is no number from %d up to %d", from, to)
		}
		return draw(from, to), nil
	})
}

// hashing marks a function that is slow on purpose.
func hashing(f *function) *function {
	f.cost = func([]any) int { return hashingWork }
	return f
}

// hashOf makes an error of what sprig gives as text.
func hashOf(text string) (string, error) {
	if !strings.Contains(text, "$2") {
		return "", errors.New(text)
	}
	return text, nil
}

func derivePassword(sprigs any) func(counter int64, kind, master, user, site string) (string, error) {
	derive := sprigs.(func(uint32, string, string, string, string) string)
	return func(counter int64, kind, master, user, site string) (string, error) {
		switch kind {
		case "long", "medium", "short", "basic", "maximum", "pin":
		default:
			return "", errors.New("the kind is long, medium, short, basic, maximum or pin")
		}
		if counter < 1 || counter > 1<<31 {
			return "", fmt.Errorf("the counter %d is outside 1 to %d", counter, 1<<31)
		}
		return derive(uint32(counter), kind, master, user, site), nil
	}
}
