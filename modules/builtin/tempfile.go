package builtin

import (
	"context"
	"crypto/rand"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/pegbook/pegbook/modules"
)

// TempFile makes a temporary file or folder.
func TempFile() *modules.Module {
	return modules.Define("tempfile", `Make a temporary file or folder

It gets a name that nobody can guess, belongs to the user that the task acts as, and nobody else may read
it. Registers path. It stays until something removes it, and every run makes another.

    - name: a place to unpack to
      tempfile:
        state: directory
        suffix: .unpacked
      register: place

    - name: it is not needed any more
      file:
        path: "{{ .place.path }}"
        state: absent`, proposeTempFile)
}

type tempFileArgs struct {
	State  string `arg:"state" default:"file" choices:"file,directory" doc:"what is made"`
	Path   string `arg:"path,path" default:"/tmp" doc:"the folder it is made in"`
	Prefix string `arg:"prefix" default:"ansible." doc:"how its name begins"`
	Suffix string `arg:"suffix" doc:"how its name ends"`
}

// madeTemp is what tempfile registers.
type madeTemp struct {
	Path  string `json:"path"`
	State string `json:"state"`
	Mode  string `json:"mode"`
}

func proposeTempFile(ctx context.Context, call *modules.Call, args tempFileArgs) (*modules.Proposal, error) {
	if strings.Contains(args.Prefix+args.Suffix, "/") {
		return nil, &modules.ArgumentError{Arg: "prefix", Problem: "prefix or suffix has a slash", Hint: "write the folder in path"}
	}
	p := path.Join(args.Path, args.Prefix+strings.ToLower(rand.Text())+args.Suffix)
	files, err := call.Host.Look(ctx, modules.Query{Path: args.Path, Follow: true}, modules.Query{Path: p})
	if err != nil {
		return nil, err
	}
	switch {
	case files[0].Kind == modules.Missing:
		return nil, &modules.FileError{Op: "make a temporary file in", Path: args.Path, Kind: fs.ErrNotExist, Text: "there is no such folder"}
	case files[0].Kind != modules.Directory:
		return nil, fmt.Errorf("%s is a %s, not a folder", args.Path, files[0].Kind)
	case files[1].Kind != modules.Missing:
		return nil, &modules.FileError{Op: "make", Path: p, Kind: fs.ErrExist, Text: "a name that nobody can guess is taken"}
	}
	mode := uint32(0o600)
	change := modules.Change{Kind: modules.WriteFile, Path: p, Content: modules.Bytes(p, nil)}
	if args.State == "directory" {
		mode = 0o700
		change = modules.Change{Kind: modules.MakeDirectory, Path: p}
	}
	change.Mode = &mode
	return &modules.Proposal{
		// The name is another in each proposal, so it is no part of the difference.
		Diff:   []modules.Diff{{Subject: args.Path, Note: "temporary " + args.State + " is made"}},
		Output: madeTemp{p, args.State, fmt.Sprintf("%04o", mode)},
		Do:     apply(change),
	}, nil
}
