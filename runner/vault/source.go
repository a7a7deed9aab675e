package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// noSuchID is how a client script ends that has no password for an id.
const noSuchID = 2

// ReadKey reads a password from a file: its content without white space around it, or what the file prints
// when it is executable. A script whose name ends in -client is told the id (--vault-id ID). A password file
// may itself be encrypted, for a password of before; nil has none.
func ReadKey(ctx context.Context, id, path string, before *Keyring) (Key, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Key{}, fmt.Errorf("the vault password file %s is not there", path)
	case err != nil:
		return Key{}, fmt.Errorf("vault password file: %w", err)
	case info.IsDir():
		return Key{}, fmt.Errorf("the vault password file %s is a folder", path)
	}
	var password []byte
	if info.Mode()&0o111 != 0 {
		password, err = askScript(ctx, id, path)
	} else {
		password, err = readPassword(path, before)
	}
	if err != nil {
		return Key{}, err
	}
	if len(password) == 0 {
		return Key{}, fmt.Errorf("the vault password file %s gives an empty password", path)
	}
	return Key{ID: id, Password: password}, nil
}

func readPassword(path string, before *Keyring) ([]byte, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("vault password file: %w", err)
	}
	raw = bytes.TrimSpace(raw)
	if !Sealed(raw) {
		return raw, nil
	}
	plain, err := before.Open(raw)
	if err != nil {
		return nil, fmt.Errorf("the vault password file %s %w", path, err)
	}
	return bytes.Trim(plain, "\r\n"), nil
}

// askScript runs a script for its output. What it says on standard error, such as a question of its own, goes to
// the person before the terminal.
func askScript(ctx context.Context, id, path string) ([]byte, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	var args []string
	if isClient(path) && id != "" {
		args = []string{"--vault-id", id}
	}
	cmd := exec.CommandContext(ctx, absolute, args...)
	cmd.Stdin, cmd.Stderr = os.Stdin, os.Stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() == noSuchID && args != nil:
		return nil, fmt.Errorf("the vault password script %s has no password for id %s", path, id)
	case errors.As(err, &exit):
		return nil, fmt.Errorf("the vault password script %s ended with code %d", path, exit.ExitCode())
	case err != nil:
		return nil, fmt.Errorf("the vault password script %s does not run (%w); if it is no script, take its executable bit away: chmod -x %s", path, err, path)
	}
	return bytes.Trim(out, "\r\n"), nil
}

func isClient(path string) bool {
	return strings.HasSuffix(strings.TrimSuffix(path, filepath.Ext(path)), "-client")
}
