package builtin

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"slices"

	"github.com/pegbook/pegbook/modules"
)

// LineInFile makes sure of a line of a file.
func LineInFile() *modules.Module {
	return modules.Define("lineinfile", `Make sure that a line is in a file, or is not

With regexp or search_string the last line that matches (the first with firstmatch) is replaced by line;
where none matches, line is added at the end, or where insertafter or insertbefore say. state: absent
removes every line that matches. A link is followed: the file behind it is edited. Regular expressions
are Python's, without looking around and references to groups within the expression. For a whole
configuration file use template or render_config.

    - name: limit of open files
      lineinfile:
        path: /etc/security/limits.conf
        regexp: '^pegasus\s+-\s+nofile'
        line: pegasus - nofile 65536

    - name: keep what stands before the value
      lineinfile:
        path: /etc/app.conf
        regexp: '^(\s*port\s*=).*$'
        line: '\1 8080'
        backrefs: true`, proposeLineInFile)
}

type lineInFileArgs struct {
	Path         string  `arg:"path,path,required,alias=dest,alias=destfile,alias=name" doc:"the file on the host"`
	State        string  `arg:"state" default:"present" choices:"present,absent" doc:"whether the line should be there"`
	Regexp       *string `arg:"regexp,alias=regex" doc:"an expression that the line to replace or to remove matches"`
	SearchString *string `arg:"search_string" doc:"a text that the line to replace or to remove holds, in place of regexp"`
	Line         *string `arg:"line,alias=value" doc:"the line, without its line break"`
	InsertAfter  *string `arg:"insertafter" doc:"where a new line goes: behind the last line that matches this, or EOF, the default"`
	InsertBefore *string `arg:"insertbefore" doc:"where a new line goes: before the last line that matches this, or BOF"`
	Backrefs     bool    `arg:"backrefs" doc:"whether line holds groups of regexp as \\1 or \\g<name>; where nothing matches, nothing is done"`
	FirstMatch   bool    `arg:"firstmatch" doc:"whether the first line that matches counts and not the last"`
	Create       bool    `arg:"create" doc:"whether a file that is not there is made, with its folder"`
	editing
}

func proposeLineInFile(ctx context.Context, call *modules.Call, args lineInFileArgs) (*modules.Proposal, error) {
	if err := args.check(); err != nil {
		return nil, err
	}
	l := &lineEdit{args: args}
	if err := l.compile(); err != nil {
		return nil, err
	}
	if args.State == "absent" {
		return args.propose(ctx, call, args.Path, missingIsFine, l.remove)
	}
	missing := missingFails
	if args.Create {
		missing = missingIsMade
	}
	return args.propose(ctx, call, args.Path, missing, l.put)
}

func (a lineInFileArgs) check() error {
	wrong := func(arg, problem, hint string) error {
		return &modules.ArgumentError{Arg: arg, Problem: problem, Hint: hint}
	}
	switch {
	case a.InsertAfter != nil && a.InsertBefore != nil:
		return wrong("insertbefore", "insertafter and insertbefore exclude each other", "give one of them")
	case a.Regexp != nil && a.SearchString != nil:
		return wrong("search_string", "regexp and search_string exclude each other", "give one of them")
	case a.Backrefs && a.SearchString != nil:
		return wrong("backrefs", "backrefs needs a regexp, not a search_string", "write regexp")
	case a.State == "present" && a.Backrefs && a.Regexp == nil:
		return wrong("backrefs", "backrefs needs a regexp", "write regexp")
	case a.State == "present" && a.Line == nil:
		return wrong("line", "no line was given", "write line, or state: absent")
	case a.State == "absent" && a.Line == nil && a.Regexp == nil && a.SearchString == nil:
		return wrong("line", "it is not said which lines are to go", "write line, regexp or search_string")
	case a.Regexp != nil && *a.Regexp == "":
		return wrong("regexp", "regexp is empty and would match every line", "write ^ where that is meant")
	case a.SearchString != nil && *a.SearchString == "":
		return wrong("search_string", "search_string is empty and would match every line", "write regexp: ^ where that is meant")
	}
	return nil
}

// lineEdit is one lineinfile at work. The order of its decisions is that of Ansible.
type lineEdit struct {
	args          lineInFileArgs
	line          []byte
	regexp, place *regexp.Regexp
	after         bool // place is insertafter's
	backrefs      expansion
}

func (l *lineEdit) compile() error {
	var err error
	if l.args.Line != nil {
		l.line = []byte(*l.args.Line)
	}
	if l.args.Regexp != nil {
		if l.regexp, err = compilePattern("regexp", *l.args.Regexp, patternOfLine); err != nil {
			return err
		}
	}
	if l.args.Backrefs && l.args.State == "present" {
		if l.backrefs, err = parseExpansion("line", *l.args.Line, l.regexp); err != nil {
			return err
		}
	}
	switch after, before := l.args.InsertAfter, l.args.InsertBefore; {
	case after != nil && *after != "BOF" && *after != "EOF":
		l.after = true
		l.place, err = compilePattern("insertafter", *after, patternOfLine)
	case before != nil && *before != "BOF":
		l.place, err = compilePattern("insertbefore", *before, patternOfLine)
	}
	return err
}

// match gives the groups of a line that regexp or search_string finds; nil: it does not match.
func (l *lineEdit) match(line []byte) []int {
	switch {
	case l.regexp != nil:
		return l.regexp.FindSubmatchIndex(line)
	case l.args.SearchString != nil && bytes.Contains(line, []byte(*l.args.SearchString)):
		return []int{0, 0}
	}
	return nil
}

func (l *lineEdit) remove(content []byte, _ bool, out *edited) ([]byte, error) {
	lines := splitLines(content)
	kept := slices.DeleteFunc(slices.Clone(lines), func(line []byte) bool {
		if l.regexp == nil && l.args.SearchString == nil {
			return bytes.Equal(l.line, bare(line))
		}
		return l.match(line) != nil
	})
	found := len(lines) - len(kept)
	if out.Found = &found; found > 0 {
		out.Msg = fmt.Sprintf("%d line(s) removed", found)
	}
	return bytes.Join(kept, nil), nil
}

func (l *lineEdit) put(content []byte, _ bool, out *edited) ([]byte, error) {
	lines := splitLines(content)
	at, groups := l.find(lines)
	place := -1
	if groups == nil {
		at, place = l.findPlace(lines)
	}
	switch {
	case at >= 0:
		line := l.line
		if l.args.Backrefs && groups != nil {
			line = l.backrefs.expand(nil, lines[at], groups)
		}
		if line = ended(line); !bytes.Equal(lines[at], line) {
			lines[at] = line
			out.Msg = "line replaced"
		}
		return bytes.Join(lines, nil), nil
	case l.args.Backrefs: // without a match there is nothing to fill the groups with
		return content, nil
	}
	lines, added := l.insert(lines, place)
	if added {
		out.Msg = "line added"
	}
	return bytes.Join(lines, nil), nil
}

// find gives the line to replace and its groups; nil where none matches.
func (l *lineEdit) find(lines [][]byte) (at int, groups []int) {
	at = -1
	for i, line := range lines {
		if found := l.match(line); found != nil {
			at, groups = i, found
			if l.args.FirstMatch {
				break
			}
		}
	}
	return at, groups
}

// findPlace looks for the line itself, and for where it should go: place is the index it would have, -1 where
// nothing says so.
func (l *lineEdit) findPlace(lines [][]byte) (at, place int) {
	at, place = -1, -1
	for i, line := range lines {
		switch {
		case bytes.Equal(l.line, bare(line)):
			at = i
		case l.place != nil && l.place.Match(line):
			place = i
			if l.after {
				place++
			}
			if l.args.FirstMatch {
				return at, place
			}
		}
	}
	return at, place
}

func (l *lineEdit) insert(lines [][]byte, place int) (result [][]byte, added bool) {
	line := append(bytes.Clone(l.line), '\n')
	is := func(arg *string, name string) bool { return arg != nil && *arg == name }
	switch {
	case is(l.args.InsertBefore, "BOF") || is(l.args.InsertAfter, "BOF"):
		return slices.Insert(lines, 0, line), true
	case place < 0:
		if len(lines) > 0 && brokenOff(lines[len(lines)-1]) {
			lines = append(lines, []byte("\n"))
		}
		return append(lines, line), true
	case l.after && place == len(lines):
		if bytes.Equal(bare(lines[place-1]), l.line) {
			return lines, false
		}
		if brokenOff(lines[place-1]) {
			lines[place-1] = ended(lines[place-1])
		}
		return append(lines, line), true
	case l.after && bytes.Equal(bare(lines[place]), l.line):
		return lines, false
	}
	return slices.Insert(lines, place, line), true
}
