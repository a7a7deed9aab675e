package plugintest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/modtest"
	"github.com/pegbook/pegbook/plugins"
)

// answerLimit is how long a part may take for what it answers at once where nobody keeps it waiting.
const answerLimit = 20 * time.Second

// patiently is how soon a cancelled use must have let go of its connections, and another run must be told of.
const patiently = 3 * time.Second

// part is a source or a notifier, in what they have in common.
type part struct {
	kind, name, doc string
	options         modules.Schema
	// use asks it for its work, with the options that a file in a folder has.
	use func(ctx context.Context, folder string, options json.RawMessage) error
}

// check makes a check of a part.
func (s Suite) check(ctx context.Context, p part, name string, try func(t *trial)) bool {
	c := Check{Module: p.name, Name: name, Problem: trying(ctx, try)}
	s.report(c)
	return c.Problem == ""
}

// described checks what a part says of itself, and gives the uses of it that are to be tried: its example and cases.
func (s Suite) described(ctx context.Context, p part) []use {
	s.check(ctx, p, "the manual page has a title, a text, an example and a line for each option", func(t *trial) { documented(t, p) })
	var uses []use
	s.check(ctx, p, "the example loads", func(t *trial) {
		options, err := s.File(p.name, exampleOf(p.doc), p.options)
		if err != nil {
			t.Fatalf("%v", err)
		}
		uses = append(uses, use{part: p, name: "the example", options: options, example: true})
	})
	s.check(ctx, p, "options that are unknown, missing or of another type are refused by name", func(t *trial) { refused(t, p, uses) })
	for _, c := range s.Cases {
		if c.Source == p.name && p.kind == kindSource || c.Notifier == p.name && p.kind == kindNotifier {
			uses = append(uses, use{part: p, name: "case " + c.Name, options: c.Options, c: c})
		}
	}
	return uses
}

const (
	kindSource   = "source"
	kindNotifier = "notifier"
)

// documented checks the manual page of a part.
func documented(t *trial, p part) {
	lines := strings.Split(p.doc, "\n")
	if len(lines) < 3 || lines[0] == "" || lines[1] != "" || strings.HasSuffix(lines[0], ".") {
		t.Errorf("the manual page is not a title without a period, an empty line and text")
	}
	if !strings.Contains("\n"+exampleOf(p.doc), "\nplugin: "+p.name+"\n") {
		t.Errorf("the manual page has no indented example, a file that says plugin: %s", p.name)
	}
	for _, option := range p.options {
		if option.Doc == "" || strings.HasSuffix(option.Doc, ".") {
			t.Errorf("option %s needs a line of documentation without a period", option.Name)
		}
	}
}

func exampleOf(doc string) string { return modtest.Example(&modules.Module{Doc: doc}) }

// refused asks a part itself for what its schema does not allow, besides what its example says: pegbook checks files
// before it asks, other programs may not.
func refused(t *trial, p part, uses []use) {
	given := map[string]json.RawMessage{}
	for _, u := range uses {
		led, _ := ledTo(u.options, refusing(t).address)
		_ = json.Unmarshal(led, &given) // options are an object
	}
	for _, w := range wrongly(p.options, given) {
		ctx, stop := context.WithTimeout(t.Context(), answerLimit)
		err := p.use(ctx, os.TempDir(), w.args)
		stop()
		var wrong *modules.ArgumentError
		switch {
		case !errors.As(err, &wrong):
			t.Errorf("%s %s gives %s, and not an argument error", w.what, w.name, outcome(err))
		case wrong.Arg != w.name && !strings.Contains(wrong.Problem, w.name):
			t.Errorf("%s %s gives an error that does not name it: %v", w.what, w.name, err)
		}
	}
}

// use is one way to use a part.
type use struct {
	part
	name    string
	options json.RawMessage
	example bool // it is the manual page's
	c       Case
}

// misnamed says what is wrong with an error of a part as such.
func (u use) misnamed(err error) string {
	var own *plugins.Error
	var wrong *modules.ArgumentError
	switch {
	case errors.As(err, &own) && !own.Told:
		return err.Error()
	case errors.As(err, &wrong):
		if _, known := u.part.options.Lookup(wrong.Arg); !known {
			return fmt.Sprintf("it blames the option %q, which it does not have: %v", wrong.Arg, err)
		}
	}
	return ""
}

// folder makes the folder of the file that uses the part, with the files that the case describes.
func (u use) folder(t *trial) string {
	dir, err := os.MkdirTemp("", "pegbook-plugin-test-")
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.cleanup(func() { _ = os.RemoveAll(dir) }) // what is left of it lies in the folder for such things
	for name, text := range u.c.Control {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if !filepath.IsLocal(filepath.FromSlash(name)) {
			t.Fatalf("the case's file %s leads out of the folder", name)
		}
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatalf("%v", err)
		}
	}
	return dir
}

// secrets are the texts of a use's secret options.
func (u use) secrets() []string {
	var all []string
	u.eachSecret(u.options, func(text string) string {
		const short = 4 // what is shorter stands everywhere
		if len(text) >= short {
			all = append(all, text)
		}
		return text
	})
	return append(all, canary)
}

// eachSecret changes the texts of secret options.
func (u use) eachSecret(options json.RawMessage, change func(string) string) json.RawMessage {
	given := map[string]json.RawMessage{}
	if json.Unmarshal(options, &given) != nil {
		return options
	}
	for name, raw := range given {
		if arg, ok := u.part.options.Lookup(name); ok && arg.Secret && len(arg.Choices) == 0 {
			given[name] = mapTexts(raw, change)
		}
	}
	return rejoined(given, options)
}

// guarded are the options with secrets that nobody else has.
func (u use) guarded(options json.RawMessage) json.RawMessage {
	return u.eachSecret(options, func(text string) string {
		if at, err := url.Parse(text); err == nil && at.Host != "" {
			return at.JoinPath(canary).String()
		}
		return canary
	})
}

// allSecret are the options with every secret that there is.
func (u use) allSecret() json.RawMessage {
	given := map[string]json.RawMessage{}
	if json.Unmarshal(u.options, &given) != nil {
		return u.options
	}
	for _, arg := range u.part.options {
		if arg.Secret && arg.Type == modules.TypeString && len(arg.Choices) == 0 {
			given[arg.Name] = json.RawMessage(`"` + canary + `"`)
		}
	}
	return rejoined(given, u.options)
}

func rejoined(given map[string]json.RawMessage, fallback json.RawMessage) json.RawMessage {
	raw, err := json.Marshal(given)
	if err != nil {
		return fallback
	}
	return raw
}

// mapTexts changes every text of a JSON value; names stay.
func mapTexts(raw json.RawMessage, change func(string) string) json.RawMessage {
	var text string
	var list []json.RawMessage
	var fields map[string]json.RawMessage
	var changed any
	switch {
	case json.Unmarshal(raw, &text) == nil:
		changed = change(text)
	case json.Unmarshal(raw, &list) == nil:
		for i := range list {
			list[i] = mapTexts(list[i], change)
		}
		changed = list
	case json.Unmarshal(raw, &fields) == nil:
		for name := range fields {
			fields[name] = mapTexts(fields[name], change)
		}
		changed = fields
	}
	out, err := json.Marshal(changed)
	if err != nil || changed == nil {
		return raw
	}
	return out
}

var hostPort = regexp.MustCompile(`^[A-Za-z0-9_.\-\[\]:]*[A-Za-z0-9\]]:[0-9]{1,5}$`)

// ledTo are options in which every address, a URL or host:port, is another one. many is how many there were.
func ledTo(options json.RawMessage, address string) (led json.RawMessage, many int) {
	led = mapTexts(options, func(text string) string {
		if at, err := url.Parse(text); err == nil && at.Host != "" {
			many++
			at.Host = address
			if at.Scheme == "https" {
				at.Scheme = "http"
			}
			return at.String()
		}
		all := strings.Split(text, ",")
		if !slices.ContainsFunc(all, hostPort.MatchString) {
			return text
		}
		for i, one := range all {
			if hostPort.MatchString(one) {
				many++
				all[i] = address
			}
		}
		return strings.Join(all, ",")
	})
	return led, many
}

// shows names what is shown and should not be.
func shows(t *trial, where, text string, secrets []string) {
	for _, s := range secrets {
		if strings.Contains(text, s) {
			t.Errorf("%s shows a secret option", where)
			return
		}
	}
}

// wordsOf is what the plugin has written to its outputs.
func (s Suite) wordsOf() string {
	if s.Said == nil {
		return ""
	}
	return s.Said()
}

// state is what lies in folders: for each path what it holds.
func state(folders ...string) map[string]string {
	all := map[string]string{}
	for _, dir := range folders {
		_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error { // what cannot be read cannot be compared
			if err != nil || d.IsDir() {
				all[path] = "a folder"
				return nil
			}
			text, err := os.ReadFile(path)
			all[path] = fmt.Sprintf("%s %v", text, err)
			return nil
		})
	}
	return all
}

// same compares folders with what they held.
func same(t *trial, was map[string]string, folders ...string) {
	now := state(folders...)
	for path, text := range now {
		if before, there := was[path]; !there || before != text {
			t.Errorf("it writes %s; a source changes nothing", path)
		}
	}
	for path := range was {
		if _, there := now[path]; !there {
			t.Errorf("it removes %s; a source changes nothing", path)
		}
	}
}
