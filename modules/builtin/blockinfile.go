package builtin

import (
	"bytes"
	"context"
	"regexp"
	"slices"
	"strings"

	"github.com/pegbook/pegbook/modules"
)

// BlockInFile makes sure of several lines of a file.
func BlockInFile() *modules.Module {
	return modules.Define("blockinfile", `Make sure of lines between two marker lines of a file

What stands between the markers is replaced by block; where they are not there, both and the block are
added at the end, or where insertafter or insertbefore say. state: absent, or an empty block, removes
them. Use another marker for each block of a file. A link is followed: the file behind it is edited.
Regular expressions are Python's, without looking around.

    - name: our part of the hosts file
      blockinfile:
        path: /etc/hosts
        marker: "# {mark} PEGASUS CLUSTER"
        block: |
          10.0.0.1 meta1
          10.0.0.2 meta2`, proposeBlockInFile)
}

type blockInFileArgs struct {
	Path           string  `arg:"path,path,required,alias=dest,alias=destfile,alias=name" doc:"the file on the host"`
	State          string  `arg:"state" default:"present" choices:"present,absent" doc:"whether the block should be there"`
	Block          string  `arg:"block,alias=content" doc:"the lines; none removes block and markers"`
	Marker         string  `arg:"marker" default:"# {mark} ANSIBLE MANAGED BLOCK" doc:"the line around the block; {mark} stands for marker_begin and marker_end"`
	MarkerBegin    string  `arg:"marker_begin" default:"BEGIN" doc:"what {mark} is in the first marker"`
	MarkerEnd      string  `arg:"marker_end" default:"END" doc:"what {mark} is in the last marker"`
	InsertAfter    *string `arg:"insertafter" doc:"where a new block goes: behind the last line that matches this, or EOF, the default"`
	InsertBefore   *string `arg:"insertbefore" doc:"where a new block goes: before the last line that matches this, or BOF"`
	Create         bool    `arg:"create" doc:"whether a file that is not there is made, with its folder"`
	PrependNewline bool    `arg:"prepend_newline" doc:"whether an empty line stands before the block"`
	AppendNewline  bool    `arg:"append_newline" doc:"whether an empty line stands behind the block"`
	editing
}

func proposeBlockInFile(ctx context.Context, call *modules.Call, args blockInFileArgs) (*modules.Proposal, error) {
	b := &blockEdit{args: args, begin: args.markerLine(args.MarkerBegin), end: args.markerLine(args.MarkerEnd)}
	switch {
	case args.InsertAfter != nil && args.InsertBefore != nil:
		return nil, &modules.ArgumentError{Arg: "insertbefore", Problem: "insertafter and insertbefore exclude each other", Hint: "give one of them"}
	case bytes.Equal(b.begin, b.end):
		return nil, &modules.ArgumentError{Arg: "marker", Problem: "the markers before and behind the block are the same line", Hint: "write {mark} in marker"}
	case strings.ContainsAny(args.Marker+args.MarkerBegin+args.MarkerEnd, "\r\n"):
		return nil, &modules.ArgumentError{Arg: "marker", Problem: "a marker has a line break in it", Hint: "write one line"}
	}
	if err := b.compile(); err != nil {
		return nil, err
	}
	missing := missingFails
	switch {
	case args.Create && args.State == "present":
		missing = missingIsMade
	case args.Create:
		missing = missingIsFine
	}
	return args.propose(ctx, call, args.Path, missing, b.edit)
}

func (a blockInFileArgs) markerLine(mark string) []byte {
	return []byte(strings.ReplaceAll(a.Marker, "{mark}", mark) + "\n")
}

// blockEdit is one blockinfile at work.
type blockEdit struct {
	args       blockInFileArgs
	begin, end []byte
	place      *regexp.Regexp
	multiline  bool // place is searched in the whole text, by the flag (?m) in it
}

func (b *blockEdit) compile() error {
	arg, pattern := "", ""
	switch {
	case b.args.InsertAfter != nil && *b.args.InsertAfter != "EOF":
		arg, pattern = "insertafter", *b.args.InsertAfter
	case b.args.InsertBefore != nil && *b.args.InsertBefore != "BOF":
		arg, pattern = "insertbefore", *b.args.InsertBefore
	default:
		return nil
	}
	b.multiline = regexp.MustCompile(`^\(\?[a-zA-Z]*m[a-zA-Z]*\)`).MatchString(pattern)
	var err error
	b.place, err = compilePattern(arg, pattern, patternOfLine)
	return err
}

func (b *blockEdit) edit(content []byte, exists bool, out *edited) ([]byte, error) {
	block := b.lines()
	lines, at := b.cut(content)
	if at > 0 && !bytes.HasSuffix(lines[at-1], []byte("\n")) {
		lines[at-1] = ended(lines[at-1])
	}
	blank := []byte("\n")
	present := b.args.State == "present"
	if b.args.PrependNewline && present && at > 0 && !bytes.Equal(lines[at-1], blank) {
		lines = slices.Insert(lines, at, blank)
		at++
	}
	lines = slices.Insert(lines, at, block...)
	if behind := at + len(block); b.args.AppendNewline && present && behind < len(lines) && !bytes.Equal(lines[behind], blank) {
		lines = slices.Insert(lines, behind, blank)
	}
	result := bytes.Join(lines, nil)
	switch {
	case !exists:
		out.Msg = "File created"
	case bytes.Equal(content, result):
	case len(block) == 0:
		out.Msg = "Block removed"
	default:
		out.Msg = "Block inserted"
	}
	return result, nil
}

// lines are the block with its markers; none when it is to go.
func (b *blockEdit) lines() [][]byte {
	if b.args.State != "present" || b.args.Block == "" {
		return nil
	}
	return slices.Concat([][]byte{b.begin}, splitAnyLines(ended([]byte(b.args.Block))), [][]byte{b.end})
}

// cut takes the block that is there away, and gives the lines left with the index where the new one goes.
func (b *blockEdit) cut(content []byte) (lines [][]byte, at int) {
	lines = splitAnyLines(content)
	begin, end := -1, -1
	for i, line := range lines {
		if bytes.Equal(line, b.begin) {
			begin = i
		}
		if bytes.Equal(line, b.end) {
			end = i
		}
	}
	if begin < 0 || end < 0 {
		return lines, b.findPlace(lines, content)
	}
	if begin > end { // Ansible takes away what is between them, whichever is first
		begin, end = end, begin
	}
	return slices.Delete(lines, begin, end+1), begin
}

func (b *blockEdit) findPlace(lines [][]byte, content []byte) int {
	switch {
	case b.place != nil:
	case b.args.InsertBefore != nil:
		return 0
	default:
		return len(lines)
	}
	at := -1
	if b.multiline {
		if match := b.place.FindIndex(content); match != nil {
			where := match[0]
			if b.args.InsertAfter != nil {
				where = match[1]
			}
			at = bytes.Count(content[:where], []byte("\n"))
		}
	} else {
		for i, line := range lines {
			if b.place.Match(line) {
				at = i
			}
		}
	}
	switch {
	case at < 0:
		return len(lines)
	case b.args.InsertAfter != nil:
		return min(at+1, len(lines))
	}
	return at
}

// splitAnyLines splits as Python's bytes.splitlines: at \n, \r and \r\n; each line keeps its line break.
func splitAnyLines(content []byte) [][]byte {
	var lines [][]byte
	for len(content) > 0 {
		end := bytes.IndexAny(content, "\r\n")
		switch {
		case end < 0:
			end = len(content)
		case content[end] == '\r' && end+1 < len(content) && content[end+1] == '\n':
			end += 2
		default:
			end++
		}
		lines = append(lines, content[:end:end])
		content = content[end:]
	}
	return lines
}
