// Package pluginfile reads the files that say which plugin is used, and how: its name below the key plugin, and its
// options beside that. It knows the options' types from a schema and starts nothing.
package pluginfile

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/internal/document"
	"github.com/pegbook/pegbook/runner/vars"
	"github.com/pegbook/pegbook/runner/vault"
)

// File says which plugin is used and how. The zero value names none.
type File struct {
	Path string
	// Plugin is the name behind the key plugin, and At where that stands.
	Plugin string
	At     diag.Position

	options []vars.Field
	keys    *vault.Keyring
	secret  bool
}

const pluginHint = "write plugin: NAME, and the plugin's options beside it"

// Read reads a file that must name a plugin. False, and a problem: it does not.
func Read(path string, keys *vault.Keyring, problems *diag.List) (File, bool) {
	raw, err := os.ReadFile(path)
	if err != nil {
		if p := (*fs.PathError)(nil); errors.As(err, &p) {
			err = p.Err
		}
		problems.Add(diag.Position{File: path}, "", "the file cannot be read: %v", err)
		return File{}, false
	}
	text, encrypted, ok := vars.OpenFile(path, raw, keys, problems)
	if !ok {
		return File{}, false
	}
	before := len(*problems)
	root := document.Parse(text, path, problems)
	if len(*problems) > before {
		return File{}, false
	}
	if root == nil {
		problems.Add(diag.Position{File: path}, pluginHint, "the file is empty")
		return File{}, false
	}
	return Of(vars.FromNode(root, path, problems), path, encrypted, keys, problems)
}

// Of is Read for content that is read already. encrypted says that its values are secrets.
func Of(content vars.Value, path string, encrypted bool, keys *vault.Keyring, problems *diag.List) (File, bool) {
	f := File{Path: path, keys: keys, secret: encrypted}
	for _, field := range content.Fields() {
		if field.Name != "plugin" {
			f.options = append(f.options, field)
			continue
		}
		d, static := field.Static()
		if f.Plugin, f.At = d.Text(), field.At; !static || d.Kind() != "string" || f.Plugin == "" {
			problems.Add(field.At, pluginHint, "plugin must be the name of a plugin")
			return File{}, false
		}
	}
	if f.Plugin == "" {
		problems.Add(diag.Position{File: path, Line: 1, Column: 1}, pluginHint, "the file names no plugin")
		return File{}, false
	}
	return f, true
}

// Options are the file's options as a JSON object that fits the schema. False, and problems: they do not. Values of
// secret options, and of encrypted ones, are secrets from now on.
func (f File) Options(schema modules.Schema, problems *diag.List) (json.RawMessage, bool) {
	before := len(*problems)
	given := map[string]json.RawMessage{}
	known := map[string]bool{}
	for _, field := range f.options {
		arg, ok := schema.Lookup(field.Name)
		if !ok {
			near := diag.Nearest(field.Name, schema.Names())
			known[near] = true // one diagnostic for one mistake
			problems.Add(field.At, diag.DidYouMean(field.Name, schema.Names()), "plugin %s takes no option %q", f.Plugin, field.Name)
			continue
		}
		if known[arg.Name] && given[arg.Name] != nil {
			problems.Add(field.At, "", "%s is the option %s, which is there already", field.Name, arg.Name)
			continue
		}
		known[arg.Name] = true
		if raw, ok := f.option(field, arg, problems); ok {
			given[arg.Name] = raw
		}
	}
	for _, arg := range schema {
		if arg.Required && !known[arg.Name] {
			problems.Add(f.At, arg.Name+" is "+arg.Doc, "plugin %s: option %s is missing", f.Plugin, arg.Name)
		}
	}
	raw, err := json.Marshal(given)
	if err != nil {
		problems.Add(f.At, "", "plugin %s: its options cannot be told: %v", f.Plugin, err)
	}
	return raw, len(*problems) == before
}

// option gives one option as JSON.
func (f File) option(field vars.Field, arg modules.Arg, problems *diag.List) (json.RawMessage, bool) {
	at := field.Position()
	d, sealed, err := field.Plain(f.keys)
	if err != nil {
		*problems = append(*problems, f.unknown(field, err))
		return nil, false
	}
	if sealed || f.secret || arg.Secret {
		f.keys.Secrets().Add(d.Texts()...)
	}
	raw := json.RawMessage(d.JSON())
	if d.Kind() == "null" || arg.Rest {
		return raw, true
	}
	if err := arg.Check(raw); err != nil {
		problem, hint := f.Misfit(err)
		problems.Add(at, hint, "%s", problem)
		return nil, false
	}
	return raw, true
}

// unknown is the problem of an option that has no value before a run.
func (f File) unknown(field vars.Field, err error) diag.Diagnostic {
	var d diag.Diagnostic
	if errors.As(err, &d) {
		return d
	}
	return diag.Diagnostic{Position: field.Position(), Problem: fmt.Sprintf("option %s: options of plugins take no templates", field.Name),
		Hint: "write the value itself; !vault encrypts one"}
}

// Misfit is what is wrong with an option, and what to write instead.
func (f File) Misfit(err error) (problem, hint string) {
	var wrong *modules.ArgumentError
	if !errors.As(err, &wrong) {
		return fmt.Sprintf("plugin %s: %v", f.Plugin, err), ""
	}
	text := strings.Replace(wrong.Problem, "argument", "option", 1)
	return fmt.Sprintf("plugin %s: %s", f.Plugin, text), wrong.Hint
}

// Where is the position of an option that an error is about; that of the plugin's name where the error names none.
func (f File) Where(err error) diag.Position {
	var wrong *modules.ArgumentError
	if !errors.As(err, &wrong) {
		return f.At
	}
	for _, field := range f.options {
		if field.Name == wrong.Arg {
			return field.Position()
		}
	}
	return f.At
}
