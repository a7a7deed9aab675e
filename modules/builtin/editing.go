package builtin

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"path"

	"github.com/pegbook/pegbook/modules"
)

// maxEdited is the longest file that is edited: it is held in memory.
const maxEdited = 32 << 20

// editing is the arguments of the modules that change a part of a text file, but for its path, whose
// aliases differ.
type editing struct {
	ownership
	Backup   bool   `arg:"backup" doc:"whether the file as it was is kept beside it, with the time in its name"`
	Validate string `arg:"validate" doc:"a command with %s for the new file; it must succeed before the file is replaced"`
}

// edited is what these modules register.
type edited struct {
	Path   string `json:"path"`
	Msg    string `json:"msg"`
	Backup string `json:"backup,omitempty"`
	// BackupFile is the same, by the name that blockinfile and replace have for it.
	BackupFile string `json:"backup_file,omitempty"`
	// Found is how many lines were taken away.
	Found *int `json:"found,omitempty"`
}

// edit gives the new content of a file; nothing stands for a file that is not there.
type edit func(content []byte, exists bool, out *edited) ([]byte, error)

// missingFile says what happens to a file that is not there.
type missingFile int

const (
	missingFails missingFile = iota
	missingIsMade
	missingIsFine
)

// propose edits the file at p, or the one that a link there leads to.
func (e editing) propose(ctx context.Context, call *modules.Call, p string, missing missingFile, change edit) (*modules.Proposal, error) {
	f, err := lookThrough(ctx, call.Host, p)
	if err != nil {
		return nil, err
	}
	out := &edited{Path: p}
	switch {
	case f.Kind == modules.Missing && missing == missingFails:
		return nil, &modules.FileError{Op: "edit", Path: p, Kind: fs.ErrNotExist, Text: "there is no such file; create: true makes it, where the module has that"}
	case f.Kind == modules.Missing && missing == missingIsFine:
		out.Msg = "file not present"
		return &modules.Proposal{Output: out, Message: out.Msg}, nil
	case f.Kind != modules.Missing && f.Kind != modules.Regular:
		return nil, fmt.Errorf("%s is a %s, and only files are edited", p, f.Kind)
	case f.Truncated:
		return nil, fmt.Errorf("%s has %d bytes; files of more than %d are not edited", p, f.Size, maxEdited)
	}
	result, err := change(f.Content, f.Kind != modules.Missing, out)
	if err != nil {
		return nil, err
	}
	if f.Kind == modules.Regular && bytes.Equal(result, f.Content) {
		attributes, diffs := e.differ(f)
		proposal := &modules.Proposal{Diff: diffs, Output: out, Message: out.Msg}
		if len(diffs) > 0 {
			proposal.Change(modules.Change{Kind: modules.SetAttributes, Path: f.Path, Attributes: attributes})
		}
		return proposal, nil
	}
	w := writing{dest: f.Path, source: modules.Bytes(p, result), ownership: e.ownership, backup: e.Backup, validate: e.Validate, parents: true}
	kept := &written{}
	proposal, err := w.over(f, false, kept)
	if err != nil {
		return nil, err
	}
	out.Backup = kept.BackupFile
	proposal.Output, proposal.Message = out, out.Msg
	return proposal, nil
}

// lookThrough reads the regular file at a path, and where that is a link the file that it leads to, by its
// own path: writing to a link would take its place. It costs a round trip a link.
func lookThrough(ctx context.Context, host modules.Host, p string) (modules.File, error) {
	p = path.Clean(p)
	for range 40 {
		files, err := host.Look(ctx, modules.Query{Path: p, Sum: true, Content: maxEdited})
		if err != nil {
			return modules.File{}, err
		}
		if files[0].Kind != modules.Symlink {
			return files[0], nil
		}
		if p = files[0].Target; !path.IsAbs(p) {
			p = path.Join(path.Dir(files[0].Path), p)
		}
	}
	return modules.File{}, &modules.FileError{Op: "edit", Path: p, Text: "too many levels of symbolic links"}
}

// splitLines splits as Python's readlines: each line keeps its line break.
func splitLines(content []byte) [][]byte {
	lines := bytes.SplitAfter(content, []byte("\n"))
	if len(lines[len(lines)-1]) == 0 {
		lines = lines[:len(lines)-1]
	}
	return lines
}

// bare is a line without the line breaks at its end.
func bare(line []byte) []byte { return bytes.TrimRight(line, "\r\n") }

// ended is a line with a line break at its end.
func ended(line []byte) []byte {
	if bytes.HasSuffix(line, []byte("\n")) {
		return line
	}
	return append(bytes.Clone(line), '\n')
}

// brokenOff says whether a text ends in the middle of a line.
func brokenOff(line []byte) bool {
	return !bytes.HasSuffix(line, []byte("\n")) && !bytes.HasSuffix(line, []byte("\r"))
}
