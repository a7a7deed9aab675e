package builtin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pegbook/pegbook/modules"
)

// maxShown is the longest content of which both sides are shown in a diff.
const maxShown = 128 << 10

// writing is one file that must have a content.
type writing struct {
	dest   string
	source modules.Source
	ownership
	// base is the file's name when dest is a folder.
	base string
	// backup keeps what is replaced with a time in its name, previous as dest.previous.
	backup, previous bool
	// secret keeps the content out of what is shown.
	secret bool
	// once leaves a file that is there as it is.
	once bool
	// validate is a command with %s for the new file, which must succeed before the file is replaced.
	validate string
	// parents makes the folders that dest lies in.
	parents bool
}

// written is what modules that write a file register.
type written struct {
	Dest     string `json:"dest"`
	Checksum string `json:"checksum"`
	Size     int64  `json:"size"`
	Mode     string `json:"mode,omitempty"`
	Previous string `json:"previous,omitempty"`
	// BackupFile is where a backup of the file that was replaced is.
	BackupFile string `json:"backup_file,omitempty"`
}

// propose looks at dest once and says what would change.
func (w writing) propose(ctx context.Context, call *modules.Call) (*modules.Proposal, error) {
	f, inFolder, err := w.look(ctx, call.Host)
	if err != nil {
		return nil, err
	}
	return w.over(f, inFolder, &written{})
}

// over says what would change of the file that was found; out is filled in. inFolder says that the folder
// of dest is to be made.
func (w writing) over(f modules.File, inFolder bool, out *written) (*modules.Proposal, error) {
	sum, err := w.source.SHA256()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", w.source.Name(), err)
	}
	out.Dest, out.Checksum, out.Size = f.Path, sum, w.source.Size()
	p := &modules.Proposal{Output: out}
	if f.Kind == modules.Directory {
		return nil, fmt.Errorf("%s is a directory; name the file that is to be written", f.Path)
	}
	if w.once && f.Kind != modules.Missing {
		out.Checksum, out.Size = f.Sum, f.Size
		return p, nil
	}
	attributes, diffs := w.attributes(f)
	if out.Mode = fmt.Sprintf("%04o", f.Mode); attributes.Mode != nil {
		out.Mode = fmt.Sprintf("%04o", *attributes.Mode)
	}
	if f.Kind == modules.Regular && f.Sum == sum {
		p.Diff = diffs
		if len(diffs) > 0 {
			p.Change(modules.Change{Kind: modules.SetAttributes, Path: f.Path, Attributes: attributes})
		}
		return p, nil
	}
	diff, err := contentDiff(f, w.source)
	if err != nil {
		return nil, err
	}
	diff.Secret = diff.Secret || w.secret
	p.Diff = append([]modules.Diff{diff}, diffs...)
	write := modules.Change{Kind: modules.WriteFile, Path: f.Path, Content: w.source, Attributes: attributes}
	var folder []modules.Change
	if inFolder || w.parents && f.Kind == modules.Missing {
		folder = append(folder, modules.Change{Kind: modules.MakeDirectory, Path: path.Dir(f.Path)})
	}
	changes := append(w.kept(f, out), write)
	if w.validate != "" {
		p.Do = w.validated(folder, changes)
		return p, nil
	}
	p.Change(append(folder, changes...)...)
	return p, nil
}

// look finds the file to write: dest, or the one in it when dest is a folder. inFolder says that dest
// is a folder by its slash and not there yet.
func (w writing) look(ctx context.Context, host modules.Host) (f modules.File, inFolder bool, err error) {
	dest := path.Clean(w.dest)
	inside := path.Join(dest, w.base)
	files, err := host.Look(ctx,
		modules.Query{Path: dest, Sum: true, Content: maxShown},
		modules.Query{Path: dest, Follow: true},
		modules.Query{Path: inside, Sum: true, Content: maxShown})
	if err != nil {
		return modules.File{}, false, err
	}
	slash := strings.HasSuffix(w.dest, "/")
	if w.base != "" && (files[1].Kind == modules.Directory || slash && files[1].Kind == modules.Missing) {
		return files[2], files[1].Kind == modules.Missing, nil
	}
	return files[0], false, nil
}

// attributes are what is to be set on the file, with a difference for each that it has and should not.
func (w writing) attributes(f modules.File) (modules.Attributes, []modules.Diff) {
	if f.Kind != modules.Regular {
		return w.fresh(false), nil
	}
	return w.differ(f)
}

// kept are the copies of a file that stay when it is replaced.
func (w writing) kept(f modules.File, out *written) []modules.Change {
	if f.Kind != modules.Regular {
		return nil
	}
	if w.previous {
		out.Previous = f.Path + ".previous"
	}
	if w.backup {
		out.BackupFile = backupOf(f.Path)
	}
	var changes []modules.Change
	for _, to := range []string{out.Previous, out.BackupFile} {
		if to != "" {
			mode := f.Mode
			changes = append(changes, modules.Change{Kind: modules.CopyFile, Path: f.Path, Target: to, Attributes: modules.Attributes{Mode: &mode}})
		}
	}
	return changes
}

// backupOf is where a file is kept that is about to be replaced. The time is the control node's, so that the
// task can register the name.
func backupOf(p string) string {
	return p + "." + time.Now().UTC().Format("20060102T150405.000Z") + "~"
}

// validated writes the content beside the file first and lets the command judge it. That costs two
// more round trips. A judgement that check mode cannot have is left out: the file still differs. The last
// of the changes is the write.
func (w writing) validated(folder, changes []modules.Change) func(context.Context, modules.Host) error {
	return func(ctx context.Context, host modules.Host) error {
		draft := changes[len(changes)-1]
		dest := draft.Path
		draft.Path = path.Join(path.Dir(dest), "."+path.Base(dest)+".candidate")
		argv, err := splitWords(w.validate)
		if err != nil {
			return err
		}
		found := false
		for i := range argv {
			found = found || strings.Contains(argv[i], "%s")
			argv[i] = strings.ReplaceAll(argv[i], "%s", draft.Path)
		}
		if !found {
			return &modules.ArgumentError{Arg: "validate", Problem: "validate has no %s", Hint: "write %s where the file's name belongs"}
		}
		if err := host.Apply(ctx, append(slices.Clone(folder), draft)...); err != nil {
			return err
		}
		_, err = host.Run(ctx, modules.Command{Argv: argv, ReadOnly: true})
		remove := modules.Change{Kind: modules.Remove, Path: draft.Path}
		if err != nil && !errors.Is(err, modules.ErrUnpredicted) {
			// Tidying is best effort: the failure of the validation is what matters.
			_ = host.Apply(context.WithoutCancel(ctx), remove)
			return fmt.Errorf("%s is not valid and was not replaced: %w", dest, err)
		}
		return host.Apply(ctx, append(slices.Clone(changes), remove)...)
	}
}

// apply is a Do that only changes files, in one round trip.
func apply(changes ...modules.Change) func(context.Context, modules.Host) error {
	return func(ctx context.Context, host modules.Host) error { return host.Apply(ctx, changes...) }
}

// contentDiff shows both sides of a file where they are short texts, and says how they differ where
// they are not.
func contentDiff(f modules.File, source modules.Source) (modules.Diff, error) {
	d := modules.Diff{Subject: f.Path, Secret: modules.Encrypted(source)}
	after, shown, err := textOf(source)
	if err != nil {
		return d, err
	}
	switch {
	case f.Kind == modules.Missing && shown:
		d.Note, d.After = "is written", after
	case f.Kind == modules.Missing:
		d.Note = fmt.Sprintf("is written, %d bytes", source.Size())
	case f.Kind == modules.Symlink:
		d.Note, d.After = "a file takes the place of the link to "+f.Target, after
	case f.Kind == modules.Regular && shown && !f.Truncated && isText(f.Content):
		d.Before, d.After = string(f.Content), after
		d.Note = "content differs"
	default:
		d.Note = fmt.Sprintf("content differs, %d → %d bytes", f.Size, source.Size())
	}
	return d, nil
}

// textOf reads content that is short enough to be shown and is text.
func textOf(source modules.Source) (string, bool, error) {
	if source.Size() > maxShown {
		return "", false, nil
	}
	content, err := readSource(source)
	if err != nil {
		return "", false, err
	}
	if !isText(content) {
		return "", false, nil
	}
	return string(content), true, nil
}

func isText(content []byte) bool { return utf8.Valid(content) && !bytes.ContainsRune(content, 0) }

func readSource(source modules.Source) ([]byte, error) {
	r, err := source.Open()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", source.Name(), err)
	}
	defer r.Close()
	var content bytes.Buffer
	content.Grow(int(source.Size()) + bytes.MinRead) // in one piece; a file that grows meanwhile is read to its end
	if _, err := content.ReadFrom(r); err != nil {
		return nil, fmt.Errorf("read %s: %w", source.Name(), err)
	}
	return content.Bytes(), nil
}
