package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/vault"
)

// vaultOptions are the flags that give passwords of ansible-vault.
type vaultOptions struct {
	ids   []string
	files []string
	ask   bool
}

func (o *vaultOptions) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&o.ids, "vault-id", nil, "a vault password with its id: ID@FILE, ID@SCRIPT or ID@prompt; may be repeated")
	f.StringArrayVar(&o.files, "vault-password-file", nil, "a file with the vault password, or a script that prints it (default $PEGBOOK_VAULT_PASSWORD_FILE)")
	f.StringArrayVar(&o.files, "vault-pass-file", nil, "as --vault-password-file")
	f.BoolVarP(&o.ask, "ask-vault-pass", "J", false, "ask for the vault password")
	f.BoolVar(&o.ask, "ask-vault-password", false, "as --ask-vault-pass")
	for _, other := range []string{"vault-pass-file", "ask-vault-password"} {
		f.MarkHidden(other) //nolint:errcheck // it exists: the lines above made it
	}
}

// prompt in place of a file is a question on the terminal; prompt_ask_vault_pass is Ansible's other name for it.
func isPrompt(source string) bool { return source == "prompt" || source == "prompt_ask_vault_pass" }

// keyring reads the passwords that the flags name, or without any the one of the environment. What comes out of
// vaults joins the secrets of the program.
func (a *app) keyring(ctx context.Context, o vaultOptions) (*vault.Keyring, error) {
	sources := o.ids
	for _, file := range o.files {
		sources = append(sources, vault.DefaultID+"@"+file)
	}
	if o.ask {
		sources = append(sources, vault.DefaultID+"@prompt")
	}
	if len(sources) == 0 {
		for _, name := range []string{"PEGBOOK_VAULT_PASSWORD_FILE", "ANSIBLE_VAULT_PASSWORD_FILE"} {
			if file := os.Getenv(name); file != "" {
				sources = []string{vault.DefaultID + "@" + file}
				break
			}
		}
	}
	var keys []vault.Key
	for _, source := range sources {
		key, err := a.vaultKey(ctx, source, vault.NewKeyring(a.secrets, keys...))
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return vault.NewKeyring(a.secrets, keys...), nil
}

// vaultKey reads one password: [ID@]FILE, or [ID@]prompt.
func (a *app) vaultKey(ctx context.Context, source string, before *vault.Keyring) (vault.Key, error) {
	id, from, labelled := strings.Cut(source, "@")
	if !labelled {
		id, from = "", source
	}
	if from == "" {
		return vault.Key{}, fmt.Errorf("--vault-id %s: write ID@FILE, ID@SCRIPT or ID@prompt", source)
	}
	if id == "" {
		id = vault.DefaultID
	}
	if !isPrompt(from) {
		return vault.ReadKey(ctx, id, from, before)
	}
	return a.askVaultKey(ctx, id, "Vault password")
}

// askVaultKey asks for a password on the terminal.
func (a *app) askVaultKey(ctx context.Context, id, question string) (vault.Key, error) {
	if id != vault.DefaultID {
		question += " (" + id + ")"
	}
	ask := a.ask(func(f func()) { f() })
	if ask == nil {
		return vault.Key{}, fmt.Errorf("%s: there is no terminal to ask on; give --vault-password-file FILE", question)
	}
	typed, err := ask(ctx, question)
	if err != nil {
		return vault.Key{}, err
	}
	if typed = strings.TrimSpace(typed); typed == "" {
		return vault.Key{}, fmt.Errorf("%s: an empty password encrypts nothing", question)
	}
	return vault.Key{ID: id, Password: []byte(typed)}, nil
}

// oneVaultProblem makes one problem of many files that are encrypted where no password was given.
func oneVaultProblem(problems diag.List) diag.List {
	var out diag.List
	first, more := -1, 0
	for _, d := range problems {
		if !strings.HasSuffix(d.Problem, vault.NoPassword) {
			out = append(out, d)
			continue
		}
		if first >= 0 {
			more++
			continue
		}
		first = len(out)
		out = append(out, d)
	}
	if more > 0 {
		out[first].Problem += fmt.Sprintf("; so are %d more files and values", more)
	}
	return out
}
