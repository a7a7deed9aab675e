package builtin

import (
	"context"
	"fmt"
	"regexp"
	"unicode/utf8"

	"github.com/pegbook/pegbook/modules"
)

// Replace replaces what an expression matches in a file.
func Replace() *modules.Module {
	return modules.Define("replace", `Replace every match of an expression in a file

^ and $ match at each line. after and before limit the search to the text between the first match of
after and the next of before. The expression must not match what replace makes of it, or the task changes
something every time. A link is followed: the file behind it is edited. Regular expressions are Python's,
without looking around and references to groups within the expression. For single lines use lineinfile.

    - name: the new name everywhere
      replace:
        path: /etc/app.conf
        regexp: '(\s)old\.example\.org(\s|$)'
        replace: '\1new.example.org\2'

    - name: only in one section
      replace:
        path: /etc/app.ini
        after: '\[network\]'
        before: '\['
        regexp: '^timeout.*$'
        replace: timeout = 30`, proposeReplace)
}

type replaceArgs struct {
	Path     string `arg:"path,path,required,alias=dest,alias=destfile,alias=name" doc:"the file on the host"`
	Regexp   string `arg:"regexp,required" doc:"the expression; it is searched in the whole text"`
	Replace  string `arg:"replace" doc:"what takes the place of each match, with \\1 or \\g<name> for groups; nothing removes it"`
	After    string `arg:"after" doc:"an expression; only text behind its first match is searched"`
	Before   string `arg:"before" doc:"an expression; only text before it is searched"`
	Encoding string `arg:"encoding" default:"utf-8" choices:"utf-8" doc:"the file's encoding"`
	editing
}

func proposeReplace(ctx context.Context, call *modules.Call, args replaceArgs) (*modules.Proposal, error) {
	r := &replacement{args: args}
	if err := r.compile(); err != nil {
		return nil, err
	}
	return args.propose(ctx, call, args.Path, missingFails, r.edit)
}

// replacement is one replace at work.
type replacement struct {
	args   replaceArgs
	regexp *regexp.Regexp
	behind *regexp.Regexp // any character and then regexp
	with   expansion
	// section finds, in its group called subsection, the text to search; nil is all of it.
	section *regexp.Regexp
}

func (r *replacement) compile() error {
	var err error
	if r.regexp, err = compilePattern("regexp", r.args.Regexp, patternOfLines); err != nil {
		return err
	}
	if r.behind, err = regexp.Compile(`(?s:\A.)(?:` + r.regexp.String() + ")"); err != nil {
		return err
	}
	if r.with, err = parseExpansion("replace", r.args.Replace, r.regexp); err != nil {
		return err
	}
	after, before := r.args.After, r.args.Before
	for _, limit := range []struct{ arg, pattern string }{{"after", after}, {"before", before}} {
		if _, err := compilePattern(limit.arg, limit.pattern, patternOfText); err != nil {
			return err
		}
	}
	pattern := ""
	switch {
	case after != "" && before != "":
		pattern = after + "(?P<subsection>.*?)" + before
	case after != "":
		pattern = after + "(?P<subsection>.*)"
	case before != "":
		pattern = "(?P<subsection>.*)" + before
	default:
		return nil
	}
	r.section, err = compilePattern("after", pattern, patternOfText)
	return err
}

func (r *replacement) edit(content []byte, _ bool, out *edited) ([]byte, error) {
	if !utf8.Valid(content) {
		return nil, fmt.Errorf("%s is no UTF-8 text", r.args.Path)
	}
	from, to := 0, len(content)
	if r.section != nil {
		match := r.section.FindSubmatchIndex(content)
		if match == nil {
			out.Msg = fmt.Sprintf("Pattern for before/after params did not match the given file: %s", r.section)
			return content, nil
		}
		group := 2 * r.section.SubexpIndex("subsection")
		from, to = match[group], match[group+1]
	}
	section := content[from:to]
	matches := r.matches(section)
	result := append([]byte(nil), content[:from]...)
	last := 0
	for _, match := range matches {
		result = append(result, section[last:match[0]]...)
		result = r.with.expand(result, section, match)
		last = match[1]
	}
	result = append(append(result, section[last:]...), content[to:]...)
	if len(matches) > 0 && string(result) != string(content) {
		out.Msg = fmt.Sprintf("%d replacements made", len(matches))
	}
	return result, nil
}

// matches finds what Python's re.sub replaces: also the nothing right behind a match, where the expression
// matches that (.* matches a line and then its end), which Go leaves out.
func (r *replacement) matches(section []byte) [][]int {
	var all [][]int
	for _, match := range r.regexp.FindAllSubmatchIndex(section, -1) {
		all = append(all, match)
		if match[1] == match[0] {
			continue
		}
		// What stands before decides about ^ and \b, so one character of it comes along.
		_, width := utf8.DecodeLastRune(section[:match[1]])
		offset := match[1] - width
		behind := r.behind.FindSubmatchIndex(section[offset:])
		if behind == nil || behind[1] > width {
			continue
		}
		behind[0] = behind[1]
		for i := range behind {
			if behind[i] >= 0 {
				behind[i] += offset
			}
		}
		all = append(all, behind)
	}
	return all
}
