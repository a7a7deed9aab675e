package builtin

import (
	"context"
	"fmt"
	"path"

	"github.com/pegbook/pegbook/modules"
)

// File makes, changes and removes files, folders and links.
func File() *modules.Module {
	return modules.Define("file", `Make sure of a file, a directory, a link, or that nothing is there

state file changes the attributes of a file or directory that is there. directory makes it with missing
parents. link makes a symbolic link to src. touch makes an empty file or sets the time of the one that is
there, so it changes something every time. absent removes what is there with everything below it.

    - name: data directory
      file:
        path: /srv/pegasus/data
        state: directory
        mode: "0750"
        owner: pegasus

    - name: no old logs
      file:
        path: /var/log/old
        state: absent`, proposeFile)
}

type fileArgs struct {
	Path  string `arg:"path,path,required,alias=dest,alias=name" doc:"the path on the host"`
	State string `arg:"state" choices:"file,directory,link,touch,absent" doc:"what should be there; directory with recurse, link with src, else file"`
	Src   string `arg:"src" doc:"what a link points to, absolute or relative to the link's folder"`
	ownership
	Recurse  bool   `arg:"recurse" doc:"whether the attributes apply to everything below a directory; costs a round trip a level"`
	Force    bool   `arg:"force" doc:"whether a link takes the place of a file"`
	Follow   bool   `arg:"follow" default:"true" doc:"whether attributes are those of what a link points to"`
	Modified string `arg:"modification_time" choices:"now,preserve" doc:"what touch does to the time of a file that is there; preserve leaves it, so that only a missing file is a change"`
	Accessed string `arg:"access_time" choices:"now,preserve" doc:"the same, and it goes with modification_time"`
}

func (a fileArgs) state() string {
	switch {
	case a.State != "":
		return a.State
	case a.Src != "":
		return "link"
	case a.Recurse:
		return "directory"
	}
	return "file"
}

// fileState is what file registers.
type fileState struct {
	Path  string `json:"path"`
	Dest  string `json:"dest"`
	State string `json:"state"`
	Mode  string `json:"mode,omitempty"`
	Owner string `json:"owner,omitempty"`
	Group string `json:"group,omitempty"`
	Size  int64  `json:"size"`
}

func proposeFile(ctx context.Context, call *modules.Call, args fileArgs) (*modules.Proposal, error) {
	state := args.state()
	if (args.Src != "") != (state == "link") {
		return nil, &modules.ArgumentError{Arg: "src", Problem: "src and state: link belong together", Hint: "give both or neither"}
	}
	if args.Recurse && state != "directory" {
		return nil, &modules.ArgumentError{Arg: "recurse", Problem: "recurse is for directories", Hint: "write state: directory"}
	}
	if args.Accessed != "" && args.Accessed != or(args.Modified, "now") || args.Modified+args.Accessed != "" && state != "touch" {
		return nil, &modules.ArgumentError{Arg: "modification_time", Problem: "modification_time and access_time are for state: touch, and go together",
			Hint: "give both the same value"}
	}
	args.Path = path.Clean(args.Path)
	follow := args.Follow && state != "link" && state != "absent"
	files, err := call.Host.Look(ctx, modules.Query{Path: args.Path, Follow: follow})
	if err != nil {
		return nil, err
	}
	f := files[0]
	p := &modules.Proposal{Output: &fileState{Path: args.Path, Dest: args.Path, State: state, Mode: fmt.Sprintf("%04o", f.Mode),
		Owner: f.Owner, Group: f.Group, Size: f.Size}}
	switch state {
	case "absent":
		proposeAbsent(p, f)
		return p, nil
	case "link":
		return p, args.proposeLink(p, f)
	case "touch":
		return p, args.proposeTouch(p, f)
	case "directory":
		return p, args.proposeDirectory(ctx, call, p, f)
	}
	if f.Kind == modules.Missing {
		return nil, fmt.Errorf("%s is not there; state: file changes only what is, use copy, template, or state: touch", args.Path)
	}
	args.proposeAttributes(p, f)
	return p, nil
}

func proposeAbsent(p *modules.Proposal, f modules.File) {
	if f.Kind == modules.Missing {
		return
	}
	note := fmt.Sprintf("%s is removed", f.Kind)
	if f.Kind == modules.Directory {
		note = "directory is removed with everything below it"
	}
	p.Diff = []modules.Diff{{Subject: f.Path, Note: note}}
	p.Change(modules.Change{Kind: modules.Remove, Path: f.Path})
}

func (a fileArgs) proposeLink(p *modules.Proposal, f modules.File) error {
	switch f.Kind {
	case modules.Symlink:
		if f.Target == a.Src {
			return nil
		}
	case modules.Missing:
	case modules.Directory:
		return fmt.Errorf("%s is a directory; remove it with state: absent before a link can take its place", a.Path)
	default:
		if !a.Force {
			return fmt.Errorf("%s is a file; force: true lets the link take its place", a.Path)
		}
	}
	p.Diff = []modules.Diff{{Subject: a.Path, Before: f.Target, After: a.Src, Note: "link to " + a.Src}}
	attributes := modules.Attributes{Owner: a.Owner, Group: a.Group}
	p.Change(modules.Change{Kind: modules.MakeLink, Path: a.Path, Target: a.Src, Attributes: attributes})
	return nil
}

func (a fileArgs) proposeTouch(p *modules.Proposal, f modules.File) error {
	switch f.Kind {
	case modules.Missing:
		p.Diff = []modules.Diff{{Subject: a.Path, Note: "empty file is made"}}
		p.Change(modules.Change{Kind: modules.Touch, Path: a.Path, Attributes: a.fresh(false)})
	case modules.Regular, modules.Directory:
		if a.Modified == "preserve" {
			a.proposeAttributes(p, f)
			return nil
		}
		attributes, diffs := a.differ(f)
		p.Diff = append([]modules.Diff{{Subject: a.Path, Note: "time is set to now"}}, diffs...)
		p.Change(modules.Change{Kind: modules.Touch, Path: a.Path, Attributes: attributes})
	default:
		return fmt.Errorf("%s is a %s and cannot be touched", a.Path, f.Kind)
	}
	return nil
}

func (a fileArgs) proposeAttributes(p *modules.Proposal, f modules.File) {
	attributes, diffs := a.differ(f)
	p.Diff = diffs
	if len(diffs) > 0 {
		p.Change(modules.Change{Kind: modules.SetAttributes, Path: a.Path, Attributes: attributes})
	}
}

func (a fileArgs) proposeDirectory(ctx context.Context, call *modules.Call, p *modules.Proposal, f modules.File) error {
	switch {
	case f.Kind == modules.Missing:
		p.Diff = []modules.Diff{{Subject: a.Path, Note: "directory is made"}}
		p.Change(modules.Change{Kind: modules.MakeDirectory, Path: a.Path, Attributes: a.fresh(true)})
		return nil
	case f.Kind != modules.Directory:
		return fmt.Errorf("%s is a %s where a directory must go; remove it with state: absent first", a.Path, f.Kind)
	case !a.Recurse:
		a.proposeAttributes(p, f)
		return nil
	}
	below, err := walk(ctx, call.Host, a.Path)
	if err != nil {
		return err
	}
	var changes []modules.Change
	for _, f := range append([]modules.File{f}, below...) {
		if f.Kind == modules.Symlink {
			continue
		}
		if attributes, diffs := a.differ(f); len(diffs) > 0 {
			p.Diff = append(p.Diff, diffs...)
			changes = append(changes, modules.Change{Kind: modules.SetAttributes, Path: f.Path, Within: a.Path, Attributes: attributes})
		}
	}
	if len(changes) > 0 {
		p.Change(changes...)
	}
	return nil
}

// maxWalk bounds what a host can make the control node remember of one directory.
const maxWalk = 500_000

// walk lists everything below a directory, one round trip a level.
func walk(ctx context.Context, host modules.Host, dir string) ([]modules.File, error) {
	var all []modules.File
	level := []modules.Query{{Path: dir, List: true, Follow: true}}
	for len(level) > 0 {
		files, err := host.Look(ctx, level...)
		if err != nil {
			return nil, err
		}
		level = nil
		for _, f := range files {
			if all = append(all, f.Entries...); len(all) > maxWalk {
				return nil, fmt.Errorf("%s holds more than %d files; that many are not looked at one by one", dir, maxWalk)
			}
			for _, entry := range f.Entries {
				if entry.Kind == modules.Directory {
					level = append(level, modules.Query{Path: entry.Path, List: true})
				}
			}
		}
	}
	return all, nil
}
