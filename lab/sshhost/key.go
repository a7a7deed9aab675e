package sshhost

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// Key is an SSH key pair.
type Key struct{ signer ssh.Signer }

// OpenKey reads the private key in a file, or makes a new one there (mode 0600) when the file is missing.
func OpenKey(file string) (Key, error) {
	p, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		if p, err = newKey(); err == nil {
			err = os.WriteFile(file, p, 0o600)
		}
	}
	if err != nil {
		return Key{}, err
	}
	signer, err := ssh.ParsePrivateKey(p)
	if err != nil {
		return Key{}, fmt.Errorf("read key %s (remove it to get a new one): %w", file, err)
	}
	return Key{signer}, nil
}

func newKey() ([]byte, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(private, "pegbook lab")
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(block), nil
}

// Public is the public key as in an authorized_keys file, without a line end.
func (k Key) Public() string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k.signer.PublicKey())))
}

// KnownHost is the line of a known_hosts file that says that the key is the host's at addr, ip:port.
func (k Key) KnownHost(addr string) string {
	return knownhosts.Line([]string{knownhosts.Normalize(addr)}, k.signer.PublicKey())
}
