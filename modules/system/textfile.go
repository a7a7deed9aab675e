package system

import (
	"strings"

	"github.com/pegbook/pegbook/modules"
)

// maxText is the longest file that a module here edits.
const maxText = 4 << 20

// rewrite is a text file that gets other content.
type rewrite struct {
	file   modules.File
	after  string
	backup bool
	// fresh is what the file has when it is made.
	fresh modules.Attributes
}

// differs says whether there is something to write.
func (w rewrite) differs() bool {
	return string(w.file.Content) != w.after || w.file.Kind == modules.Missing
}

// diff shows both sides.
func (w rewrite) diff() modules.Diff {
	note := "content differs"
	if w.file.Kind == modules.Missing {
		note = "is written"
	}
	return modules.Diff{Subject: w.file.Path, Before: string(w.file.Content), After: w.after, Note: note}
}

func (w rewrite) change() modules.Change {
	c := modules.Change{Kind: modules.WriteFile, Path: w.file.Path, Content: modules.Bytes(w.file.Path, []byte(w.after)), Backup: w.backup}
	if w.file.Kind == modules.Missing {
		c.Attributes = w.fresh
	}
	return c
}

// lines splits a text into lines without their ends.
func lines(text string) []string {
	if text = strings.TrimSuffix(text, "\n"); text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

// unlines is the reverse of lines: each line with its end.
func unlines(all []string) string {
	if len(all) == 0 {
		return ""
	}
	return strings.Join(all, "\n") + "\n"
}

// permissions are for the tags of attributes.
func permissions(mode uint32) *uint32 { return &mode }
