package vars

import (
	"github.com/pegbook/pegbook/runner/diag"
)

// Template is a whole text with actions, such as a template file; it renders to text. It is immutable
// and may be rendered from several goroutines.
type Template struct{ prog *program }

// ParseTemplate compiles template text. delims are zero for "{{" and "}}". Positions in errors count
// from line 1 of the text, in the file named. The template is nil when the list is not empty.
func ParseTemplate(file, text string, delims [2]string) (*Template, diag.List) {
	return parseTemplate(library(), file, text, delims)
}

func parseTemplate(lib map[string]*function, file, text string, delims [2]string) (*Template, diag.List) {
	var problems diag.List
	for i, usual := range plainDelims() {
		if delims[i] == "" {
			delims[i] = usual
		}
	}
	src := &source{text: text, at: diag.Position{File: file, Line: 1, Column: 1}}
	if delims == plainDelims() && refuseStatements(src, &problems) {
		return nil, problems
	}
	p := compileWith(lib, src, delims, &problems)
	if p == nil {
		return nil, problems
	}
	p.single = nil // a file is text, even when it is one action
	return &Template{p}, nil
}

// Render gives the text in a scope.
func (t *Template) Render(s *Scope) (string, error) { return t.render(s, nil) }

func (t *Template) render(s *Scope, tr *trail) (string, error) {
	v, err := t.prog.run(s, tr)
	if err != nil {
		return "", Value{&node{at: t.prog.src.at}}.placed(err)
	}
	return v.(string), nil
}

// Refs are the variables that the template uses.
func (t *Template) Refs() []Ref { return t.prog.references() }
