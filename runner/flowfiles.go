package runner

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/vars"
	"github.com/pegbook/pegbook/runner/vault"
)

// templateFile is a file of the control node that has been looked into.
type templateFile struct {
	raw      []byte
	err      error
	values   *vars.Values
	parsed   map[[2]string]*vars.Template
	problems diag.List
}

// text reads a file, once.
func (a *analysis) text(path string) *templateFile {
	if f, ok := a.texts[path]; ok {
		return f
	}
	f := &templateFile{parsed: map[[2]string]*vars.Template{}}
	a.texts[path] = f
	info, err := os.Stat(path)
	switch {
	case err != nil:
		f.err = err
	case !info.Mode().IsRegular() || info.Size() > maxText:
		f.err = errLarge
	default:
		f.raw, f.err = os.ReadFile(path)
	}
	if f.err == nil && vault.Sealed(f.raw) {
		var problems diag.List
		text, _, ok := vars.OpenFile(path, f.raw, a.plan.in.Files.Vault, &problems)
		if !ok {
			f.err = problems
		}
		f.raw = text
	}
	return f
}

// files looks at the files of the control node that the arguments name: whether they are there, and what templates
// in them use.
func (l *look) files(args []argument, known map[string]vars.Data) {
	for _, a := range args {
		if !a.known || a.arg.File == "" {
			continue
		}
		d, ok := known[a.arg.Name]
		if remote, given := known["remote_src"]; !ok || d.IsUnknown() || d.IsOmit() || given && !isFalse(remote) {
			continue
		}
		for _, name := range fileNames(a.arg, d) {
			l.file(a, name, known)
		}
	}
}

func isFalse(d vars.Data) bool {
	b, err := modules.ParseBool(d.Text())
	return !d.IsUnknown() && err == nil && !b
}

// fileNames are the files that an argument's value names. A free one is a command: its first word is the file.
func fileNames(arg modules.Arg, d vars.Data) []string {
	list, ok := d.List()
	if !ok {
		list = []vars.Data{d}
	}
	var names []string
	for _, item := range list {
		name := item.Text()
		if arg.Command {
			name, _, _ = strings.Cut(strings.TrimSpace(name), " ")
		}
		if name != "" && !strings.Contains(name, "://") {
			names = append(names, name)
		}
	}
	return names
}

func (l *look) file(a argument, name string, known map[string]vars.Data) {
	path, err := l.r.find(a.arg.File, name)
	if err != nil {
		if filepath.IsAbs(name) && a.value.Templated() || l.only && a.value.Templated() {
			return // it may be made before the run
		}
		at := a.value.Position()
		if !l.told[at] {
			l.told[at] = true
			hint := didYouMean(filepath.Base(name), l.filesNear(a.arg.File, name))
			if hint == "" {
				hint = "searched " + strings.Join(l.r.searched(a.arg.File, name), ", ")
			}
			missing := diag.Diagnostic{Position: at, Problem: fmt.Sprintf("module %s: there is no file %q", l.r.module.Name, name), Hint: hint}
			missing.Warning = filepath.IsAbs(name) || !l.sure
			l.problems.Append(diag.List{missing})
		}
		return
	}
	if l.r.module.Reads != nil {
		l.content(path, known)
	}
}

// searched are the places where a file is looked for.
func (r *row) searched(kind, name string) []string {
	if filepath.IsAbs(name) {
		return []string{name}
	}
	var tried []string
	for _, dir := range r.folders() {
		tried = append(tried, filepath.Join(dir, kind, name), filepath.Join(dir, name))
	}
	return tried
}

// filesNear are the files in the folders where one was looked for.
func (l *look) filesNear(kind, name string) []string {
	var names []string
	for _, path := range l.r.searched(kind, name) {
		entries, err := os.ReadDir(filepath.Dir(path))
		for _, e := range entries {
			if err == nil {
				names = append(names, e.Name())
			}
		}
	}
	return names
}

// content looks at what a file that is a template uses.
func (l *look) content(path string, known map[string]vars.Data) {
	f := l.text(path)
	if f.err != nil {
		return
	}
	args := map[string]json.RawMessage{}
	for name, d := range known {
		if !d.IsUnknown() && !d.IsOmit() {
			args[name] = d.JSON()
		}
	}
	raw, err := json.Marshal(args)
	if err != nil {
		return
	}
	reads, err := l.r.module.Reads(raw, string(f.raw))
	if err != nil {
		return
	}
	for _, m := range reads.Variables {
		l.mention(path, string(f.raw), m)
	}
	if !reads.Template {
		return
	}
	t, parsed := f.parsed[reads.Delims]
	if !parsed {
		var problems diag.List
		t, problems = vars.ParseTemplate(path, string(f.raw), reads.Delims)
		f.parsed[reads.Delims] = t
		l.problems.Append(problems)
	}
	if t == nil {
		return
	}
	l.all.uses(t.Uses())
	l.names(t.Uses())
	if !l.only {
		l.tell(t.Sample(l.s))
	}
}

// mention looks at a variable that a file names in a way of its own.
func (l *look) mention(path, text string, m modules.Mention) {
	l.all.used[m.Variable] = true
	before := text[:min(m.Offset, len(text))]
	at := diag.Position{File: path, Line: 1 + strings.Count(before, "\n"), Column: len(before) - strings.LastIndexByte(before, '\n')}
	if v, layer, ok := l.s.Written(m.Variable); ok {
		l.names(v.Uses())
		_ = layer
		return
	}
	if l.told[at] || l.only && l.all.has(m.Variable) {
		return
	}
	l.told[at] = true
	problem := diag.Diagnostic{Position: at, Problem: fmt.Sprintf("variable %q is not defined%s, for %s", m.Variable, l.onHosts(), m.Text),
		Hint: didYouMean(m.Variable, l.s.Names()), Warning: !l.sure || l.all.open}
	l.problems.Append(diag.List{problem})
}
