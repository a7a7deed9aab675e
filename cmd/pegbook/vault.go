package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pegbook/pegbook/runner/vault"
)

func newVaultCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "vault",
		Short: "Encrypt and decrypt files and values as ansible-vault does",
		Long: `Encrypt and decrypt files and values as ansible-vault does.

The files are those of Ansible Vault, formats 1.1 and 1.2: what either program encrypts the other decrypts.`,
	}
	cmd.AddCommand(newVaultEncryptCmd(a), newVaultDecryptCmd(a), newVaultViewCmd(a), newVaultEditCmd(a), newVaultCreateCmd(a), newVaultRekeyCmd(a), newVaultStringCmd(a))
	return cmd
}

// vaultVerb are the flags that verbs of vault share.
type vaultVerb struct {
	vaultOptions
	encryptID string
	output    string
}

func (o *vaultVerb) encryptFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.encryptID, "encrypt-vault-id", "", "the id whose password encrypts; needed when several are given")
}

func (o *vaultVerb) outputFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.output, "output", "", "write to this file instead; - is standard output")
}

// open gives the passwords to decrypt with; without any it asks for one.
func (a *app) open(ctx context.Context, o vaultVerb) (*vault.Keyring, error) {
	keys, err := a.keyring(ctx, o.vaultOptions)
	if err != nil || !keys.Empty() {
		return keys, err
	}
	if _, ok := terminal(a.in); !ok {
		return nil, errors.New("no vault password was given; give --vault-password-file FILE, --vault-id ID@FILE, or set PEGBOOK_VAULT_PASSWORD_FILE")
	}
	key, err := a.askVaultKey(ctx, vault.DefaultID, "Vault password")
	if err != nil {
		return nil, err
	}
	return vault.NewKeyring(a.secrets, key), nil
}

// encrypting gives the password to encrypt with. One that is typed is asked for twice.
func (a *app) encrypting(ctx context.Context, o vaultVerb) (vault.Key, *vault.Keyring, error) {
	typed := o.ask
	keys, err := a.keyring(ctx, o.vaultOptions)
	if err == nil && keys.Empty() {
		typed = true
		keys, err = a.open(ctx, o)
	}
	if err != nil {
		return vault.Key{}, nil, err
	}
	key, err := chooseKey(keys, o.encryptID)
	if err != nil {
		return vault.Key{}, nil, err
	}
	if typed && key.ID == vault.DefaultID {
		again, err := a.askVaultKey(ctx, vault.DefaultID, "The same password again")
		if err != nil {
			return vault.Key{}, nil, err
		}
		if !bytes.Equal(again.Password, key.Password) {
			return vault.Key{}, nil, errors.New("the two passwords differ; nothing was done")
		}
	}
	return key, keys, nil
}

func chooseKey(keys *vault.Keyring, id string) (vault.Key, error) {
	ids := keys.IDs()
	if id == "" && len(ids) > 1 {
		return vault.Key{}, fmt.Errorf("passwords of several ids are given (%s); say which encrypts with --encrypt-vault-id", strings.Join(ids, ", "))
	}
	key, ok := keys.Key(id)
	if !ok {
		return vault.Key{}, fmt.Errorf("--encrypt-vault-id %s: there is a password for %s only", id, strings.Join(ids, ", "))
	}
	return key, nil
}

// eachFile does the same to every file; without a file, or for -, to standard input, which goes to standard output.
func (a *app) eachFile(o vaultVerb, files []string, change func(name string, text []byte) ([]byte, error)) error {
	if len(files) == 0 {
		files = []string{"-"}
	}
	if o.output != "" && o.output != "-" && len(files) > 1 {
		return errors.New("--output takes what one file gives; name one file")
	}
	for _, file := range files {
		text, err := a.readInput(file)
		if err != nil {
			return err
		}
		changed, err := change(file, text)
		if err != nil {
			return fmt.Errorf("%s: %w", inputName(file), err)
		}
		to := o.output
		if to == "" {
			to = file
		}
		if to == "-" {
			_, err = a.out.Write(changed)
		} else {
			err = replaceFile(to, file, changed)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func inputName(file string) string {
	if file == "-" {
		return "standard input"
	}
	return file
}

func (a *app) readInput(file string) ([]byte, error) {
	if file == "-" {
		return io.ReadAll(a.in)
	}
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no file %s", file)
	}
	return text, err
}

func newVaultEncryptCmd(a *app) *cobra.Command {
	var o vaultVerb
	cmd := &cobra.Command{
		Use:     "encrypt [FILE...]",
		Short:   "Encrypt files in their place, or standard input",
		Example: "  pegbook vault encrypt group_vars/all/vault.yml --vault-id prod@~/.vault-prod",
		RunE: func(cmd *cobra.Command, files []string) error {
			key, _, err := a.encrypting(cmd.Context(), o)
			if err != nil {
				return err
			}
			return a.eachFile(o, files, func(_ string, text []byte) ([]byte, error) {
				if vault.Sealed(text) {
					return nil, errors.New("is encrypted already; pegbook vault rekey gives it another password")
				}
				return vault.Seal(text, key)
			})
		},
	}
	o.flags(cmd)
	o.encryptFlag(cmd)
	o.outputFlag(cmd)
	return cmd
}

func newVaultDecryptCmd(a *app) *cobra.Command {
	var o vaultVerb
	cmd := &cobra.Command{
		Use:     "decrypt [FILE...]",
		Short:   "Decrypt files in their place, or standard input",
		Example: "  pegbook vault decrypt secrets.yml --output - --vault-password-file ~/.vault",
		RunE: func(cmd *cobra.Command, files []string) error {
			keys, err := a.open(cmd.Context(), o)
			if err != nil {
				return err
			}
			return a.eachFile(o, files, func(_ string, text []byte) ([]byte, error) { return openText(keys, text) })
		},
	}
	o.flags(cmd)
	o.outputFlag(cmd)
	return cmd
}

// openText decrypts a whole file.
func openText(keys *vault.Keyring, text []byte) ([]byte, error) {
	if !vault.Sealed(text) {
		return nil, errors.New("is not encrypted")
	}
	plain, err := keys.Open(text)
	if hint := vault.Hint(err); hint != "" {
		return nil, fmt.Errorf("%w; %s", err, hint)
	}
	return plain, err
}

func newVaultViewCmd(a *app) *cobra.Command {
	var o vaultVerb
	cmd := &cobra.Command{
		Use:   "view FILE...",
		Short: "Show what encrypted files hold",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			keys, err := a.open(cmd.Context(), o)
			if err != nil {
				return err
			}
			o.output = "-"
			return a.eachFile(o, files, func(_ string, text []byte) ([]byte, error) { return openText(keys, text) })
		},
	}
	o.flags(cmd)
	return cmd
}

// rekeyOptions are the flags of rekey.
type rekeyOptions struct {
	vaultVerb
	newID, newFile string
}

func newVaultRekeyCmd(a *app) *cobra.Command {
	var o rekeyOptions
	cmd := &cobra.Command{
		Use:     "rekey FILE...",
		Short:   "Encrypt files with another password",
		Example: "  pegbook vault rekey secrets.yml --vault-password-file old --new-vault-id prod@new",
		Args:    cobra.MinimumNArgs(1),
		RunE:    func(cmd *cobra.Command, files []string) error { return a.rekey(cmd.Context(), o, files) },
	}
	o.flags(cmd)
	cmd.Flags().StringVar(&o.newID, "new-vault-id", "", "the new password with its id: ID@FILE, ID@SCRIPT or ID@prompt")
	cmd.Flags().StringVar(&o.newFile, "new-vault-password-file", "", "a file with the new password, or a script that prints it")
	cmd.MarkFlagsMutuallyExclusive("new-vault-id", "new-vault-password-file")
	return cmd
}

// rekey decrypts every file before it writes the first, so that a wrong password changes nothing.
func (a *app) rekey(ctx context.Context, o rekeyOptions, files []string) error {
	keys, err := a.open(ctx, o.vaultVerb)
	if err != nil {
		return err
	}
	fresh := vaultVerb{}
	switch {
	case o.newID != "":
		fresh.ids = []string{o.newID}
	case o.newFile != "":
		fresh.files = []string{o.newFile}
	default:
		fresh.ask = true
	}
	key, _, err := a.encrypting(ctx, fresh)
	if err != nil {
		return err
	}
	sealed := make([][]byte, len(files))
	for i, file := range files {
		text, err := a.readInput(file)
		if err == nil {
			text, err = openText(keys, text)
		}
		if err == nil {
			sealed[i], err = vault.Seal(text, key)
		}
		if err != nil {
			return fmt.Errorf("%s: %w; no file was changed", file, err)
		}
	}
	for i, file := range files {
		if err := replaceFile(file, file, sealed[i]); err != nil {
			return err
		}
	}
	return nil
}

// stringOptions are the flags of encrypt-string.
type stringOptions struct {
	vaultVerb
	names     []string
	stdinName string
	prompt    bool
}

func newVaultStringCmd(a *app) *cobra.Command {
	var o stringOptions
	cmd := &cobra.Command{
		Use:     "encrypt-string [TEXT...]",
		Aliases: []string{"encrypt_string"},
		Short:   "Encrypt a value, to be put into a file of variables",
		Long: `Encrypt a value, to be put into a file of variables. The text is read from standard input or, with --prompt,
from the terminal: on the command line other users of the machine could see it.`,
		Example: "  pegbook vault encrypt-string --name db_password --vault-id prod@~/.vault-prod < password",
		RunE:    func(cmd *cobra.Command, texts []string) error { return a.encryptStrings(cmd.Context(), o, texts) },
	}
	o.flags(cmd)
	o.encryptFlag(cmd)
	o.outputFlag(cmd)
	f := cmd.Flags()
	f.StringArrayVarP(&o.names, "name", "n", nil, "the variable's name; once for each text")
	f.StringVar(&o.stdinName, "stdin-name", "", "the name of the variable whose value standard input is")
	f.BoolVarP(&o.prompt, "prompt", "p", false, "ask for the text")
	return cmd
}

// namedText is a value to encrypt, with the name of its variable; "" for none.
type namedText struct{ name, text string }

func (a *app) encryptStrings(ctx context.Context, o stringOptions, args []string) error {
	key, _, err := a.encrypting(ctx, o.vaultVerb)
	if err != nil {
		return err
	}
	texts, err := a.textsToEncrypt(ctx, o, args)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	for _, t := range texts {
		sealed, err := vault.Seal([]byte(t.text), key)
		if err != nil {
			return err
		}
		if t.name != "" {
			out.WriteString(t.name + ": ")
		}
		out.WriteString("!vault |\n")
		for line := range strings.Lines(string(sealed)) {
			out.WriteString("          " + line)
		}
	}
	if o.output != "" && o.output != "-" {
		return replaceFile(o.output, o.output, out.Bytes())
	}
	_, err = a.out.Write(out.Bytes())
	return err
}

func (a *app) textsToEncrypt(ctx context.Context, o stringOptions, args []string) ([]namedText, error) {
	var texts []namedText
	for i, arg := range args {
		t := namedText{text: arg}
		if i < len(o.names) {
			t.name = o.names[i]
		}
		texts = append(texts, t)
	}
	if o.prompt {
		ask := a.ask(func(f func()) { f() })
		if ask == nil {
			return nil, errors.New("--prompt: there is no terminal to ask on")
		}
		typed, err := ask(ctx, "Text to encrypt")
		if err != nil {
			return nil, err
		}
		texts = append(texts, namedText{text: typed, name: nameAt(o.names, len(args))})
	}
	if len(texts) > 0 && o.stdinName == "" {
		return texts, nil
	}
	raw, err := io.ReadAll(a.in)
	if err != nil {
		return nil, err
	}
	name := o.stdinName
	if name == "" {
		name = nameAt(o.names, len(texts))
	}
	return append(texts, namedText{name: name, text: string(raw)}), nil
}

func nameAt(names []string, i int) string {
	if i < len(names) {
		return names[i]
	}
	return ""
}
