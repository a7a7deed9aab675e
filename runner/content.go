package runner

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/vars"
	"github.com/pegbook/pegbook/runner/vault"
)

// source gives a file of the control node to a module. One that is encrypted is decrypted when its content is asked
// for; modules.AsIs gives it as it lies there.
func (r *run) source(path string) (modules.Source, error) {
	source, err := modules.LocalFile(path)
	if err != nil {
		return nil, err
	}
	return r.decrypted(source)
}

// tree is source for a folder.
func (r *run) tree(path string) ([]modules.TreeEntry, error) {
	entries, err := modules.LocalTree(path)
	if err != nil {
		return nil, err
	}
	for i := range entries {
		if entries[i].Source == nil {
			continue
		}
		if entries[i].Source, err = r.decrypted(entries[i].Source); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

// decrypted looks at the beginning of a file, which says whether it is encrypted.
func (r *run) decrypted(source modules.Source) (modules.Source, error) {
	f, err := source.Open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	head := make([]byte, 16)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("read %s: %w", source.Name(), err)
	}
	if !vault.Sealed(head[:n]) {
		return source, nil
	}
	return &unsealed{sealed: source, r: r}, nil
}

// unsealed is the content of an encrypted file.
type unsealed struct {
	sealed modules.Source
	r      *run

	once  sync.Once
	plain modules.Source
	err   error
}

// get decrypts the file when it is first asked for.
func (u *unsealed) get() (modules.Source, error) {
	u.once.Do(func() {
		var text []byte
		if text, u.err = u.r.readFile(u.sealed.Name()); u.err == nil {
			u.plain = modules.Bytes(u.sealed.Name(), text)
		}
	})
	return u.plain, u.err
}

// AsIs is the encrypted file.
func (u *unsealed) AsIs() modules.Source { return u.sealed }

// Name is the file's.
func (u *unsealed) Name() string { return u.sealed.Name() }

// Size is that of the decrypted content; that of the file where it cannot be had, which SHA256 and Open say.
func (u *unsealed) Size() int64 {
	plain, err := u.get()
	if err != nil {
		return u.sealed.Size()
	}
	return plain.Size()
}

// SHA256 is the digest of the decrypted content.
func (u *unsealed) SHA256() (string, error) {
	plain, err := u.get()
	if err != nil {
		return "", err
	}
	return plain.SHA256()
}

// Open starts reading the decrypted content.
func (u *unsealed) Open() (io.ReadCloser, error) {
	plain, err := u.get()
	if err != nil {
		return nil, err
	}
	return plain.Open()
}

// maxLearned is the size up to which the lines of a decrypted file become secrets. A larger one is an archive, or
// data, whose lines nobody prints.
const maxLearned = 16 << 10

// readFile reads a file of the control node, decrypted where it is encrypted; its lines are secrets then.
func (r *run) readFile(path string) ([]byte, error) {
	raw, err := os.ReadFile(path)
	if err != nil || !vault.Sealed(raw) {
		return raw, err
	}
	var problems diag.List
	text, _, ok := vars.OpenFile(path, raw, r.keys(), &problems)
	if !ok {
		return nil, problems
	}
	if len(text) <= maxLearned && utf8.Valid(text) && !bytes.ContainsRune(text, 0) {
		r.secrets.Add(strings.TrimRight(string(text), "\r\n"))
	}
	return text, nil
}

// keys are the passwords that open what is encrypted.
func (r *run) keys() *vault.Keyring { return r.plan.in.Files.Vault }
