// Package vault reads and writes what ansible-vault encrypts: files and values in the formats 1.1 and 1.2.
//
// A [Keyring] holds the passwords of a run and opens what any of them fits. The package knows nothing of YAML
// and of what the texts mean.
package vault

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// The format: PBKDF2 over the password and a salt gives the key of AES-256 in counter mode, the key of an HMAC
// over the ciphertext, and the counter's start.
const (
	header     = "$ANSIBLE_VAULT"
	rounds     = 10_000
	keyLength  = 32
	saltLength = 32
	lineLength = 80
	// DefaultID is the id of a password that was given without one.
	DefaultID = "default"
)

// Key is a password with its id.
type Key struct {
	ID       string // "" is DefaultID
	Password []byte
}

// Sealed says whether a text is one that ansible-vault encrypted.
func Sealed(text []byte) bool { return bytes.HasPrefix(text, []byte(header)) }

// FormatError is a text that is damaged, or of a format that is not known.
type FormatError struct {
	Line    int // of the text, from 1
	Problem string
}

// Error is the problem.
func (e *FormatError) Error() string { return e.Problem }

// PasswordError is a text that no password fits.
type PasswordError struct {
	// ID is the one that the text names; "" for none.
	ID string
	// Tried are the ids of the passwords, in the order they were tried; none when no password was given.
	Tried []string
}

// NoPassword is the problem of a text that is met where no password was given.
const NoPassword = "is encrypted with ansible-vault, and no password was given"

// Error says what was tried.
func (e *PasswordError) Error() string {
	if len(e.Tried) == 0 {
		return NoPassword
	}
	return "cannot be decrypted: " + e.passwords()
}

func (e *PasswordError) passwords() string {
	if len(e.Tried) == 1 {
		return fmt.Sprintf("the password of id %q is wrong", e.Tried[0])
	}
	return fmt.Sprintf("none of the passwords of ids %s is right", strings.Join(e.Tried, ", "))
}

// Hint is what to give for the text to be opened.
func (e *PasswordError) Hint() string {
	id := e.ID
	if id == "" || id == DefaultID {
		if len(e.Tried) > 0 {
			return "give the password it was encrypted with: --vault-password-file FILE or --ask-vault-pass"
		}
		return "give --vault-password-file FILE, --ask-vault-pass, or set PEGBOOK_VAULT_PASSWORD_FILE"
	}
	if len(e.Tried) > 0 {
		return fmt.Sprintf("it was encrypted for id %s: give that password with --vault-id %s@FILE", id, id)
	}
	return fmt.Sprintf("give --vault-id %s@FILE or --vault-id %s@prompt", id, id)
}

// Hint is what to do about an error of Open; "" where there is nothing to say.
func Hint(err error) string {
	var wrong *PasswordError
	if errors.As(err, &wrong) {
		return wrong.Hint()
	}
	return ""
}

// envelope is an encrypted text taken apart.
type envelope struct {
	id                    string // "" in format 1.1
	salt, mac, ciphertext []byte
}

// ID gives the id that an encrypted text names; "" for none.
func ID(text []byte) (string, error) {
	e, err := parse(text)
	if err != nil {
		return "", err
	}
	return e.id, nil
}

func damaged(line int, format string, args ...any) error {
	return &FormatError{Line: line, Problem: "the encrypted text is damaged: " + fmt.Sprintf(format, args...)}
}

func parse(text []byte) (*envelope, error) {
	first, rest, _ := bytes.Cut(text, []byte("\n"))
	fields := strings.Split(strings.TrimSpace(string(first)), ";")
	if fields[0] != header || len(fields) < 3 {
		return nil, damaged(1, "its first line must be like %s;1.1;AES256", header)
	}
	version, name := strings.TrimSpace(fields[1]), strings.TrimSpace(fields[2])
	if version != "1.1" && version != "1.2" {
		return nil, &FormatError{Line: 1, Problem: fmt.Sprintf("version %q of ansible-vault's format is not supported; 1.1 and 1.2 are", version)}
	}
	if name != "AES256" {
		return nil, &FormatError{Line: 1, Problem: fmt.Sprintf("the cipher %q is not supported; AES256 is", name)}
	}
	e := &envelope{}
	if len(fields) > 3 {
		e.id = strings.TrimSpace(fields[3])
	}
	inner, err := unhexLines(rest)
	if err != nil {
		return nil, err
	}
	return e, e.fill(inner)
}

// unhexLines reads the lines below the header; white space around a line counts for nothing.
func unhexLines(text []byte) ([]byte, error) {
	var digits []byte
	number := 1
	for line := range bytes.SplitSeq(text, []byte("\n")) {
		number++
		line = bytes.TrimSpace(line)
		for _, c := range line {
			if !isHex(c) {
				return nil, damaged(number, "%q is no hexadecimal digit", rune(c))
			}
		}
		digits = append(digits, line...)
	}
	out := make([]byte, hex.DecodedLen(len(digits)))
	if _, err := hex.Decode(out, digits); err != nil {
		return nil, damaged(number, "it has an odd number of digits")
	}
	return out, nil
}

func isHex(c byte) bool { return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F' }

// fill reads salt, HMAC and ciphertext, each a line of hexadecimal digits again.
func (e *envelope) fill(inner []byte) error {
	lines := bytes.SplitN(inner, []byte("\n"), 3)
	if len(lines) != 3 {
		return damaged(2, "it has no salt, HMAC and ciphertext")
	}
	for i, to := range []*[]byte{&e.salt, &e.mac, &e.ciphertext} {
		raw, err := hex.DecodeString(string(bytes.TrimSpace(lines[i])))
		if err != nil {
			return damaged(2, "its %s is not hexadecimal", []string{"salt", "HMAC", "ciphertext"}[i])
		}
		*to = raw
	}
	switch {
	case len(e.salt) == 0:
		return damaged(2, "it has no salt")
	case len(e.mac) != sha256.Size:
		return damaged(2, "its HMAC has %d bytes instead of %d", len(e.mac), sha256.Size)
	case len(e.ciphertext) == 0 || len(e.ciphertext)%aes.BlockSize != 0:
		return damaged(2, "a part of it is missing")
	}
	return nil
}

// material is what a password and a salt give.
type material struct{ key, macKey, counter []byte }

func derive(password, salt []byte) (material, error) {
	raw, err := pbkdf2.Key(sha256.New, string(password), salt, rounds, 2*keyLength+aes.BlockSize)
	if err != nil {
		return material{}, fmt.Errorf("derive a key: %w", err)
	}
	return material{raw[:keyLength], raw[keyLength : 2*keyLength], raw[2*keyLength:]}, nil
}

func (m material) mac(ciphertext []byte) []byte {
	h := hmac.New(sha256.New, m.macKey)
	h.Write(ciphertext)
	return h.Sum(nil)
}

func (m material) stream(text []byte) []byte {
	block, err := aes.NewCipher(m.key)
	if err != nil {
		panic("vault: a key of our own making: " + err.Error())
	}
	out := make([]byte, len(text))
	cipher.NewCTR(block, m.counter).XORKeyStream(out, text)
	return out
}

// open decrypts. False: it is the key of another password.
func (e *envelope) open(m material) ([]byte, bool, error) {
	if !hmac.Equal(m.mac(e.ciphertext), e.mac) {
		return nil, false, nil
	}
	padded := m.stream(e.ciphertext)
	n := int(padded[len(padded)-1])
	if n == 0 || n > aes.BlockSize || !bytes.Equal(padded[len(padded)-n:], bytes.Repeat([]byte{byte(n)}, n)) {
		return nil, true, damaged(2, "its padding is wrong")
	}
	return padded[:len(padded)-n], true, nil
}

// Seal encrypts a text as ansible-vault does: in format 1.2 with the key's id, or 1.1 for the default id.
func Seal(text []byte, key Key) ([]byte, error) {
	salt := make([]byte, saltLength)
	if _, err := rand.Read(salt); err != nil {
		return nil, err
	}
	return sealWith(text, key, salt)
}

func sealWith(text []byte, key Key, salt []byte) ([]byte, error) {
	m, err := derive(key.Password, salt)
	if err != nil {
		return nil, err
	}
	n := aes.BlockSize - len(text)%aes.BlockSize
	padded := append(bytes.Clone(text), bytes.Repeat([]byte{byte(n)}, n)...)
	ciphertext := m.stream(padded)
	inner := strings.Join([]string{hex.EncodeToString(salt), hex.EncodeToString(m.mac(ciphertext)), hex.EncodeToString(ciphertext)}, "\n")
	var out bytes.Buffer
	if key.ID == "" || key.ID == DefaultID {
		out.WriteString(header + ";1.1;AES256\n")
	} else {
		out.WriteString(header + ";1.2;AES256;" + key.ID + "\n")
	}
	for digits := hex.EncodeToString([]byte(inner)); digits != ""; {
		cut := min(lineLength, len(digits))
		out.WriteString(digits[:cut] + "\n")
		digits = digits[cut:]
	}
	return out.Bytes(), nil
}
