package builtin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/archive"
)

// Unarchive unpacks archives.
func Unarchive() *modules.Module {
	return modules.Define("unarchive", `Unpack an archive into a folder of a host

tar, tar.gz and zip are told by their content. An archive of the control node is unpacked only when a
file of it is missing or different on the host. With remote_src the archive is on the host, and tar there
says whether anything differs; for a zip file give creates. Files on the host that are not in the archive
stay. To install versions of a package beside each other use install_pkg.

    - name: tools
      unarchive:
        src: tools.tar.gz
        dest: /opt/tools
        strip: 1
        creates: /opt/tools/bin/tool`, proposeUnarchive)
}

type unarchiveArgs struct {
	Src           string   `arg:"src,required,file=files" doc:"the archive, looked for in files/; with remote_src an absolute path on the host; or an http or https address, as seen from the host"`
	Dest          string   `arg:"dest,path,required" doc:"the folder to unpack into; it must be there"`
	Creates       string   `arg:"creates,path" doc:"nothing is done when this path is there"`
	RemoteSrc     bool     `arg:"remote_src,alias=copy_from_host" doc:"whether src is a file of the managed host"`
	ExtraOpts     []string `arg:"extra_opts" doc:"options of tar: --strip-components=N and no other"`
	ValidateCerts bool     `arg:"validate_certs" default:"true" doc:"whether the certificate of the server is checked that src is downloaded from"`
	Strip         int      `arg:"strip" min:"0" doc:"how many leading elements of the names in the archive are dropped"`
	Owner         string   `arg:"owner" doc:"user that owns what was unpacked"`
	Group         string   `arg:"group" doc:"group of what was unpacked"`
}

// unpacked is what unarchive registers.
type unpacked struct {
	Src   string `json:"src"`
	Dest  string `json:"dest"`
	Files int    `json:"files,omitempty"`
}

func proposeUnarchive(ctx context.Context, call *modules.Call, args unarchiveArgs) (*modules.Proposal, error) {
	if err := args.options(); err != nil {
		return nil, err
	}
	address := strings.HasPrefix(args.Src, "http://") || strings.HasPrefix(args.Src, "https://")
	if args.RemoteSrc && !address {
		return proposeRemoteUnarchive(ctx, call, args)
	}
	if args.Creates != "" {
		files, err := call.Host.Look(ctx, modules.Query{Path: args.Creates})
		if err != nil {
			return nil, err
		}
		if files[0].Kind != modules.Missing {
			return &modules.Proposal{Output: &unpacked{Src: args.Src, Dest: args.Dest}, Message: args.Creates + " exists"}, nil
		}
	}
	source, err := args.source(ctx, call, address)
	if err != nil {
		return nil, err
	}
	members, err := archive.List(source)
	if err != nil {
		return nil, fmt.Errorf("read archive %s: %w", source.Name(), err)
	}
	queries := []modules.Query{{Path: args.Dest, Follow: true}}
	kept := members[:0:0]
	for _, m := range members {
		if rel, ok := m.Strip(args.Strip); ok {
			kept = append(kept, m)
			queries = append(queries, modules.Query{Path: path.Join(args.Dest, rel), Sum: true})
		}
	}
	files, err := call.Host.Look(ctx, queries...)
	if err != nil {
		return nil, err
	}
	p := &modules.Proposal{Output: &unpacked{Src: args.Src, Dest: args.Dest, Files: len(kept)}}
	if err := mustBeDirectory(files[0]); err != nil {
		return nil, err
	}
	for i, m := range kept {
		if note := memberDiffers(m, files[1+i], args); note != "" {
			p.Diff = append(p.Diff, modules.Diff{Subject: files[1+i].Path, Note: note})
		}
	}
	if len(p.Diff) > 0 {
		p.Do = args.send(source)
	}
	return p, nil
}

// options takes of extra_opts what it can: how many elements of the names are dropped.
func (a *unarchiveArgs) options() error {
	for i := 0; i < len(a.ExtraOpts); i++ {
		option, value, given := strings.Cut(a.ExtraOpts[i], "=")
		if !given && i+1 < len(a.ExtraOpts) {
			i++
			value = a.ExtraOpts[i]
		}
		n, err := strconv.Atoi(value)
		if option != "--strip-components" && option != "--strip" || err != nil || n < 0 || a.Strip != 0 && a.Strip != n {
			return &modules.ArgumentError{Arg: "extra_opts", Problem: fmt.Sprintf("extra_opts holds %q; no tar runs here", option),
				Hint: "--strip-components=N is understood, and written as strip: N; for others run tar with command"}
		}
		a.Strip = n
	}
	return nil
}

// source is the archive on the control node, downloaded from the host's network where it is an address.
func (a unarchiveArgs) source(ctx context.Context, call *modules.Call, address bool) (modules.Source, error) {
	if !address {
		return call.Open("files", a.Src)
	}
	call.Note("downloads %s", a.Src)
	w := &web{args: httpArgs{URL: a.Src, Agent: "pegbook", ValidateCerts: a.ValidateCerts}, host: call.Host, timeout: 30 * time.Second, redirects: "all"}
	answer, err := w.do(ctx, request{method: http.MethodGet})
	if err != nil {
		return nil, err
	}
	defer answer.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: the server answers %s", answer.Request.URL, answer.Status)
	}
	return spool(answer.Request.URL.String(), answer.Body)
}

func mustBeDirectory(f modules.File) error {
	switch f.Kind {
	case modules.Directory:
		return nil
	case modules.Missing:
		return &modules.FileError{Op: "unpack into", Path: f.Path, Kind: fs.ErrNotExist, Text: "there is no such folder; make it with file first"}
	}
	return fmt.Errorf("%s is a %s, not a folder", f.Path, f.Kind)
}

// memberDiffers says how a file differs from an archive's member; empty: it does not.
func memberDiffers(m archive.Member, f modules.File, args unarchiveArgs) string {
	switch {
	case f.Kind == modules.Missing:
		return "is unpacked"
	case m.Kind != f.Kind:
		return fmt.Sprintf("%s takes the place of a %s", m.Kind, f.Kind)
	case m.Kind == modules.Symlink && m.Target != f.Target:
		return "link to " + m.Target
	case m.Kind == modules.Regular && !m.Hard && m.Sum != f.Sum:
		return "content differs"
	case m.Kind == modules.Regular && !m.Hard && m.Mode&0o777 != f.Mode&0o777:
		return fmt.Sprintf("mode %04o → %04o", f.Mode, m.Mode)
	case m.Kind == modules.Symlink: // its owner means nothing, and a recursive change leaves it
		return ""
	case args.Owner != "" && args.Owner != f.Owner && args.Owner != strconv.Itoa(f.UID):
		return fmt.Sprintf("owner %s → %s", named(f.Owner, f.UID), args.Owner)
	case args.Group != "" && args.Group != f.Group && args.Group != strconv.Itoa(f.GID):
		return fmt.Sprintf("group %s → %s", named(f.Group, f.GID), args.Group)
	}
	return ""
}

// send puts the archive beside its target, unpacks it there and removes it, in one round trip.
func (a unarchiveArgs) send(source modules.Source) func(context.Context, modules.Host) error {
	return func(ctx context.Context, host modules.Host) error {
		sum, err := source.SHA256()
		if err != nil {
			return err
		}
		private := uint32(0o600)
		temp := path.Join(a.Dest, ".pegbook-"+sum[:16])
		remove := modules.Change{Kind: modules.Remove, Path: temp}
		changes := append([]modules.Change{{Kind: modules.WriteFile, Path: temp, Content: source,
			Attributes: modules.Attributes{Mode: &private}}}, a.unpack(temp)...)
		if err := host.Apply(ctx, append(changes, remove)...); err != nil {
			// Tidying is best effort: the first error is what matters.
			_ = host.Apply(context.WithoutCancel(ctx), remove)
			return err
		}
		return nil
	}
}

func (a unarchiveArgs) unpack(archive string) []modules.Change {
	changes := []modules.Change{{Kind: modules.Unpack, Path: archive, Target: a.Dest, Strip: a.Strip}}
	if a.Owner != "" || a.Group != "" {
		changes = append(changes, modules.Change{Kind: modules.SetAttributes, Path: a.Dest, Recursive: true,
			Attributes: modules.Attributes{Owner: a.Owner, Group: a.Group}})
	}
	return changes
}

// proposeRemoteUnarchive asks the host's tar whether anything differs: the archive may be too large to
// be read over the connection.
func proposeRemoteUnarchive(ctx context.Context, call *modules.Call, args unarchiveArgs) (*modules.Proposal, error) {
	if !path.IsAbs(args.Src) {
		return nil, &modules.ArgumentError{Arg: "src", Problem: "src is a relative path", Hint: "with remote_src, write an absolute one"}
	}
	p := &modules.Proposal{Output: &unpacked{Src: args.Src, Dest: args.Dest}}
	queries := []modules.Query{{Path: args.Dest, Follow: true}, {Path: args.Src, Follow: true}}
	if args.Creates != "" {
		queries = append(queries, modules.Query{Path: args.Creates})
	}
	files, err := call.Host.Look(ctx, queries...)
	if err != nil {
		return nil, err
	}
	if args.Creates != "" && files[2].Kind != modules.Missing {
		p.Message = args.Creates + " exists"
		return p, nil
	}
	if err := mustBeDirectory(files[0]); err != nil {
		return nil, err
	}
	if files[1].Kind != modules.Regular {
		return nil, &modules.FileError{Op: "unpack", Path: args.Src, Kind: fs.ErrNotExist, Text: "no such file on the host"}
	}
	note := "is unpacked"
	if args.Creates == "" {
		if note, err = tarDiffers(ctx, call.Host, args); err != nil || note == "" {
			return p, err
		}
	}
	p.Diff = []modules.Diff{{Subject: args.Dest, Note: note}}
	p.Change(args.unpack(args.Src)...)
	return p, nil
}

// tarDiffers lets tar compare; empty: nothing differs.
func tarDiffers(ctx context.Context, host modules.Host, args unarchiveArgs) (string, error) {
	cmd := modules.Command{ReadOnly: true, Argv: []string{"tar", "--compare", "--file", args.Src, "--directory", args.Dest,
		"--strip-components", strconv.Itoa(args.Strip)}}
	_, err := host.Run(ctx, cmd)
	var exit *modules.ExitError
	switch {
	case err == nil:
		return "", nil
	case errors.As(err, &exit) && exit.ExitCode == 1:
		return firstLine(string(exit.Stdout)), nil
	case errors.As(err, &exit):
		return "", fmt.Errorf("compare %s with %s: %w; give creates where tar cannot compare", args.Src, args.Dest, err)
	}
	return "", err
}
