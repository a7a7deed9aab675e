package connect

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// UnknownHostKeyError is a host whose key is in no known_hosts file.
type UnknownHostKeyError struct {
	Address, KeyType, Fingerprint string
}

// Error gives the fingerprint to compare.
func (e *UnknownHostKeyError) Error() string {
	return fmt.Sprintf("the host key of %s is not known (%s %s)", e.Address, e.KeyType, e.Fingerprint)
}

// ChangedHostKeyError is a host that shows another key than the one known for it: a machine that was
// installed anew, or somebody in between.
type ChangedHostKeyError struct {
	Address, KeyType, Fingerprint string
	// File and Line are where the known key stands.
	File string
	Line int
}

// Error says where the known key stands.
func (e *ChangedHostKeyError) Error() string {
	return fmt.Sprintf("the host key of %s has changed: it shows %s %s, another is in %s:%d", e.Address, e.KeyType, e.Fingerprint, e.File, e.Line)
}

// keyring is the known host keys of one set of files. It is safe for concurrent use.
type keyring struct {
	files       []string
	check       ssh.HostKeyCallback
	authorities bool // some line is @cert-authority

	mu       sync.Mutex // guards accepted, and the first file while it grows
	accepted map[string]ssh.PublicKey
}

func openKeyring(files []string) (*keyring, error) {
	k := &keyring{files: files, accepted: map[string]ssh.PublicKey{}}
	var there []string
	for _, f := range files {
		content, err := os.ReadFile(f)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		k.authorities = k.authorities || bytes.Contains(content, []byte("@cert-authority"))
		there = append(there, f)
	}
	var err error
	k.check, err = knownhosts.New(there...)
	return k, err
}

// noKey is a key that nobody has: asking about it tells what is known.
type noKey struct{}

func (noKey) Type() string                        { return "none" }
func (noKey) Marshal() []byte                     { return []byte("none") }
func (noKey) Verify([]byte, *ssh.Signature) error { return errors.New("no key") }

func (k *keyring) known(address string) []knownhosts.KnownKey {
	var unfit *knownhosts.KeyError
	if errors.As(k.check(address, &net.TCPAddr{}, noKey{}), &unfit) {
		return unfit.Want
	}
	return nil
}

// algorithms are the key types to ask a host for: those that are known of it. A host has keys of
// several types, and one that we do not know would look like a change. nil is no preference.
func (k *keyring) algorithms(address string) []string {
	var types []string
	for _, known := range k.known(address) {
		types = append(types, known.Key.Type())
	}
	k.mu.Lock()
	if key := k.accepted[address]; key != nil {
		types = append(types, key.Type())
	}
	k.mu.Unlock()
	var list []string
	for _, t := range types {
		if t == ssh.KeyAlgoRSA {
			list = append(list, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
		} else {
			list = append(list, t)
		}
	}
	if len(list) == 0 {
		list = []string{ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
	}
	if k.authorities {
		list = append([]string{ssh.CertAlgoED25519v01, ssh.CertAlgoECDSA256v01, ssh.CertAlgoECDSA384v01, ssh.CertAlgoECDSA521v01,
			ssh.CertAlgoRSASHA512v01, ssh.CertAlgoRSASHA256v01}, list...)
	}
	return slices.Compact(list)
}

// verify decides about a key that a host shows. With acceptNew an unknown one is remembered.
func (k *keyring) verify(address string, key ssh.PublicKey, acceptNew bool) error {
	err := k.check(address, &net.TCPAddr{}, key)
	var unfit *knownhosts.KeyError
	if !errors.As(err, &unfit) {
		return err
	}
	if len(unfit.Want) > 0 {
		where := unfit.Want[0]
		for _, w := range unfit.Want {
			if w.Key.Type() == key.Type() {
				where = w
			}
		}
		return &ChangedHostKeyError{Address: address, KeyType: key.Type(), Fingerprint: ssh.FingerprintSHA256(key), File: where.Filename, Line: where.Line}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if known := k.accepted[address]; known != nil {
		if bytes.Equal(known.Marshal(), key.Marshal()) {
			return nil
		}
		return &ChangedHostKeyError{Address: address, KeyType: key.Type(), Fingerprint: ssh.FingerprintSHA256(key), File: k.files[0]}
	}
	if !acceptNew {
		return &UnknownHostKeyError{Address: address, KeyType: key.Type(), Fingerprint: ssh.FingerprintSHA256(key)}
	}
	if err := k.remember(address, key); err != nil {
		return fmt.Errorf("remember the host key: %w", err)
	}
	k.accepted[address] = key
	return nil
}

func (k *keyring) remember(address string, key ssh.PublicKey) error {
	if len(k.files) == 0 {
		return errors.New("there is no known_hosts file to write to")
	}
	file := k.files[0]
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	line := knownhosts.Line([]string{address}, key) + "\n"
	// A file whose last line was never ended would swallow ours.
	if content, err := os.ReadFile(file); err == nil && len(content) > 0 && content[len(content)-1] != '\n' {
		line = "\n" + line
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(line)
	return errors.Join(err, f.Close())
}

// hostKeyHint says what to do about a key that was refused.
func hostKeyHint(err error, files []string) string {
	var unknown *UnknownHostKeyError
	var changed *ChangedHostKeyError
	switch {
	case errors.As(err, &unknown):
		file := "~/.ssh/known_hosts"
		if len(files) > 0 {
			file = files[0]
		}
		host, port, splitErr := net.SplitHostPort(unknown.Address)
		if splitErr != nil {
			host, port = unknown.Address, "22"
		}
		flag := ""
		if n, err := strconv.Atoi(port); err == nil && n != 22 {
			flag = "-p " + port + " "
		}
		kind := strings.TrimPrefix(strings.TrimPrefix(unknown.KeyType, "ssh-"), "ecdsa-sha2-nistp")
		if kind != "rsa" && kind != "ed25519" {
			kind = "ecdsa"
		}
		return fmt.Sprintf("compare the fingerprint on the host, then accept it with --accept-new-host-keys, or: ssh-keyscan %s-t %s %s >> %s", flag, kind, host, file)
	case errors.As(err, &changed):
		return fmt.Sprintf("if the host was installed anew, remove the old key: ssh-keygen -R %s -f %s", quote(knownhosts.Normalize(changed.Address)), quote(changed.File))
	}
	return ""
}
