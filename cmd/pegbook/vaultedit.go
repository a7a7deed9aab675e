package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/pegbook/pegbook/runner/vault"
)

func newVaultEditCmd(a *app) *cobra.Command {
	var o vaultVerb
	cmd := &cobra.Command{
		Use:   "edit FILE",
		Short: "Change an encrypted file in $EDITOR",
		Long: `Change an encrypted file in $EDITOR (or $VISUAL; vi without either). The editor is given a file that only you
can read, in a folder of its own in memory where there is one ($XDG_RUNTIME_DIR, /dev/shm). Both are removed
when the editor ends, and on a signal. Swap and backup files that the editor puts elsewhere are its own affair.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.editVault(cmd.Context(), o, args[0]) },
	}
	o.flags(cmd)
	o.encryptFlag(cmd)
	return cmd
}

// editVault lets the user change what a file holds. It is encrypted again with the password that it was encrypted
// with, unless --encrypt-vault-id names another; a file that was not changed stays as it is.
func (a *app) editVault(ctx context.Context, o vaultVerb, file string) error {
	keys, err := a.open(ctx, o)
	if err != nil {
		return err
	}
	sealed, err := a.readInput(file)
	if err != nil {
		return err
	}
	plain, err := openText(keys, sealed)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	key, err := keyOf(keys, sealed, o.encryptID)
	if err != nil {
		return err
	}
	changed, err := a.edited(ctx, file, plain)
	if err != nil {
		return err
	}
	if bytes.Equal(changed, plain) && o.encryptID == "" {
		return nil
	}
	if sealed, err = vault.Seal(changed, key); err != nil {
		return err
	}
	return replaceFile(file, file, sealed)
}

// keyOf is the password that an encrypted text is to be encrypted with again: the one that opens it, or that of an id.
func keyOf(keys *vault.Keyring, sealed []byte, id string) (vault.Key, error) {
	if id != "" {
		return chooseKey(keys, id)
	}
	key, ok := keys.Opener(sealed)
	if !ok {
		return vault.Key{}, errors.New("no password opens the file")
	}
	if named, err := vault.ID(sealed); err == nil && named != "" {
		key.ID = named // the id stays even where a password of another id opened the file
	}
	return key, nil
}

func newVaultCreateCmd(a *app) *cobra.Command {
	var o vaultVerb
	cmd := &cobra.Command{
		Use:   "create FILE",
		Short: "Write a new encrypted file in $EDITOR",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := os.Lstat(args[0]); !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%s is there already; pegbook vault edit changes it", args[0])
			}
			key, _, err := a.encrypting(cmd.Context(), o)
			if err != nil {
				return err
			}
			text, err := a.edited(cmd.Context(), args[0], nil)
			if err != nil {
				return err
			}
			sealed, err := vault.Seal(text, key)
			if err != nil {
				return err
			}
			return replaceFile(args[0], args[0], sealed)
		},
	}
	o.flags(cmd)
	o.encryptFlag(cmd)
	return cmd
}

// edited gives a text as the user leaves it in an editor.
func (a *app) edited(ctx context.Context, name string, text []byte) (changed []byte, err error) {
	dir, err := os.MkdirTemp(privateDir(), "pegbook-vault-") // 0700
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	// The name keeps its ending, which tells editors how to colour the text.
	path := filepath.Join(dir, filepath.Base(name))
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return nil, err
	}
	if err := a.runEditor(ctx, path); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

// privateDir is a folder in memory, so that the text does not come to lie on a disk; "" is the usual one.
func privateDir() string {
	for _, dir := range []string{os.Getenv("XDG_RUNTIME_DIR"), "/dev/shm"} {
		if info, err := os.Stat(dir); dir != "" && err == nil && info.IsDir() {
			return dir
		}
	}
	return ""
}

// runEditor runs the editor until it ends, or until pegbook is told to: then the editor is ended, and the file
// removed. An interrupt from the keyboard is the editor's.
func (a *app) runEditor(ctx context.Context, path string) error {
	editor := os.Getenv("VISUAL")
	if editor == "" {
		editor = os.Getenv("EDITOR")
	}
	if editor == "" {
		editor = "vi"
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	interrupted := make(chan struct{})
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP, syscall.SIGQUIT)
	defer signal.Stop(hangup)
	interrupts := a.hear()
	go func() {
		defer stop()
		for {
			select {
			case s, ok := <-interrupts:
				if ok && s == os.Interrupt {
					continue
				}
			case <-hangup:
			case <-ctx.Done():
				return
			}
			close(interrupted)
			return
		}
	}()
	words := strings.Fields(editor)
	cmd := exec.CommandContext(ctx, words[0], append(words[1:], path)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = a.in, a.out, a.err
	err := cmd.Run()
	select {
	case <-interrupted:
		return errors.New("interrupted; the file was not changed")
	default:
	}
	if err != nil {
		return fmt.Errorf("the editor %q: %w; the file was not changed", editor, err)
	}
	return nil
}

// replaceFile writes a file in one step. It keeps the mode and owner of the file that like names; without such
// a file only its owner can read it. A link is followed.
func replaceFile(to, like string, text []byte) error {
	if resolved, err := filepath.EvalSymlinks(to); err == nil {
		to = resolved
	}
	f, err := os.CreateTemp(filepath.Dir(to), "."+filepath.Base(to)+".*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // it is gone when all went well
	_, err = f.Write(text)
	if err == nil {
		err = keepMode(f, like)
	}
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return fmt.Errorf("write %s: %w", to, err)
	}
	return os.Rename(f.Name(), to)
}
