package builtin

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pegbook/pegbook/modules"
)

// InstallPkg installs versions of a package beside each other.
func InstallPkg() *modules.Module {
	m := modules.Define("install_pkg", `Install a version of a package, beside the others

The package, a tar.gz or zip file, becomes the folder releases/VERSION below dest, and the link current
points to the version in use. Both appear in one step each, so nobody ever sees half a release. A version
that is there is not sent again: going back to it only moves the link. The host checks what it was sent;
when the connection breaks on the way, the next run sends the rest.

When a run is taken back, current is set to the release that it pointed to before. A release that the run has installed
stays, with the configuration that was put into it.

Of the releases the newest are kept, as many as keep says, and always the current one and every one that
a process of the same user still runs from (as root: any process).

src is a file of the control node, an http or https address that the control node fetches once and keeps,
or with remote_src a file of the host. An address needs a checksum. A host that has the version already
does not need src at all.

    - name: the server's package
      install_pkg:
        dest: /home/work/app/pegasus/package
        src: pegasus-server-2.5.0-0123abc-glibc2.17-release.tar.gz
        version: 2.5.0
        checksum: sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
        keep: 3
      register: package`, proposeInstallPkg)
	m.Prepares = true
	m = modules.Restoring(m, restoreRelease)
	return modules.About(m, func(args installPkgArgs) string { return path.Join(args.Dest, "current") })
}

// releaseBefore is what install_pkg keeps of before.
type releaseBefore struct {
	Current string `json:"current"`
	// UID and GID are the link's, where there was one.
	UID int `json:"uid"`
	GID int `json:"gid"`
}

// restoreRelease lets current point to the release that it pointed to before.
func restoreRelease(ctx context.Context, call *modules.Call, args installPkgArgs, before *releaseBefore) (*modules.Proposal, error) {
	in := &install{installPkgArgs: args}
	in.Dest = path.Clean(in.Dest)
	files, err := call.Host.Look(ctx, modules.Query{Path: in.current()}, modules.Query{Path: in.releases(), Follow: true, List: true})
	if err != nil {
		return nil, err
	}
	in.out = &installed{Removed: []string{}}
	if err := in.readLink(files[0]); err != nil {
		return nil, err
	}
	in.out.Releases = in.newestFirst(files[1].Entries)
	in.out.Current, in.out.Version = in.out.Previous, in.out.Previous
	p := &modules.Proposal{Output: in.out}
	if before != nil && args.Activate && before.Current != in.out.Previous {
		if err := in.reactivate(p, *before); err != nil {
			return nil, err
		}
	}
	if slices.Contains(in.out.Releases, args.Version) && in.out.Version != args.Version {
		p.Message = "release " + args.Version + " stays installed"
	}
	in.Version = in.out.Version
	in.out.Path = in.release()
	return p, nil
}

// reactivate proposes another release as the current one, or that there is none.
func (in *install) reactivate(p *modules.Proposal, before releaseBefore) error {
	version := before.Current
	d := modules.Diff{Subject: in.current(), Before: in.out.Previous, After: version, Note: in.out.Previous + " → " + version}
	change := modules.Change{Kind: modules.MakeLink, Path: in.current(), Target: path.Join("releases", version),
		Attributes: modules.Attributes{Owner: strconv.Itoa(before.UID), Group: strconv.Itoa(before.GID)}}
	switch {
	case version == "":
		d.Note = "is removed: there was none"
		change = modules.Change{Kind: modules.Remove, Path: in.current()}
	case !slices.Contains(in.out.Releases, version):
		return fmt.Errorf("release %s, which was the current one, is not in %s any more; install it again with its package", version, in.releases())
	}
	p.Diff = []modules.Diff{d}
	p.Before = in.was
	in.out.Current, in.out.Version = version, version
	p.Change(change)
	return nil
}

// newestFirst are the releases that are there.
func (in *install) newestFirst(entries []modules.File) []string {
	slices.SortStableFunc(entries, func(a, b modules.File) int { return b.Modified.Compare(a.Modified) })
	names := []string{}
	for _, e := range entries {
		if name := path.Base(e.Path); e.Kind == modules.Directory && !strings.HasPrefix(name, ".") {
			names = append(names, name)
		}
	}
	return names
}

type installPkgArgs struct {
	Dest      string        `arg:"dest,path,required" doc:"the folder that holds releases and current"`
	Version   string        `arg:"version,required" doc:"the version's name, which becomes the folder's"`
	Src       string        `arg:"src,file=files" doc:"the package: a file, looked for in files/, an http or https address, or with remote_src a path on the host"`
	Checksum  string        `arg:"checksum" doc:"SHA-256 of the package in hexadecimal, with or without sha256: before it"`
	RemoteSrc bool          `arg:"remote_src" doc:"whether src is a file of the managed host"`
	Strip     int           `arg:"strip" default:"1" min:"0" doc:"how many leading elements of the names in the package are dropped"`
	Activate  bool          `arg:"activate" default:"true" doc:"whether current is set to this version; otherwise it is only put there"`
	Keep      int           `arg:"keep" default:"3" min:"0" doc:"how many releases to keep, at least 1; 0 keeps all"`
	Owner     string        `arg:"owner" doc:"user that owns the release"`
	Group     string        `arg:"group" doc:"group of the release"`
	Timeout   time.Duration `arg:"timeout" default:"10m" doc:"how long the control node may take to fetch an address"`
}

// installed is what install_pkg registers.
type installed struct {
	Version string `json:"version"`
	// Current and Previous are the versions that current pointed to after and before; empty for none.
	Current  string `json:"current"`
	Previous string `json:"previous"`
	// Path is the release's folder.
	Path     string `json:"path"`
	Checksum string `json:"checksum,omitempty"`
	// Sent says whether the package went over the connection.
	Sent    bool     `json:"sent"`
	Removed []string `json:"removed"`
	// Releases are the versions there afterwards, newest first.
	Releases []string `json:"releases"`
}

// receipt is kept in a release: which package it came from.
type receipt struct {
	Version string `json:"version"`
	SHA256  string `json:"sha256"`
}

// receiptFile is the receipt's name in a release.
const receiptFile = ".pegbook-release.json"

// install is one install_pkg at work.
type install struct {
	installPkgArgs
	sum    string // of the package; empty while it is not known
	source modules.Source
	upload string // where the package is put on the host
	out    *installed
	was    releaseBefore
	// arrived says that the whole package is on the host already.
	arrived bool
	there   bool // the release is
	// leftover says that the package still lies where an attempt that was cut off has put it, beside the release.
	leftover bool
	keepers  map[string]bool
}

const versionPattern = `^[A-Za-z0-9][A-Za-z0-9._+-]*$`

func proposeInstallPkg(ctx context.Context, call *modules.Call, args installPkgArgs) (*modules.Proposal, error) {
	in, err := newInstall(call, args)
	if err != nil {
		return nil, err
	}
	queries := []modules.Query{
		{Path: in.current()},
		{Path: in.releases(), Follow: true, List: true},
		{Path: path.Join(in.release(), receiptFile), Content: 4096},
		{Path: args.Dest, Disk: true},
	}
	if in.sum != "" && !args.RemoteSrc {
		queries = append(queries, modules.Query{Path: in.upload, Sum: true})
	}
	files, err := call.Host.Look(ctx, queries...)
	if err != nil {
		return nil, err
	}
	p := &modules.Proposal{Output: in.out}
	if err := in.read(files); err != nil {
		return nil, err
	}
	if !in.there {
		if err := in.proposeRelease(ctx, call.Host, p, files[3]); err != nil {
			return nil, err
		}
	}
	if in.leftover = in.there && in.arrived && call.Begun != nil; in.leftover {
		p.Diff = append(p.Diff, modules.Diff{Subject: in.upload, Note: "is removed"})
	}
	if args.Activate && in.out.Previous != args.Version {
		p.Diff = append(p.Diff, modules.Diff{Subject: in.current(), Before: in.out.Previous, After: args.Version,
			Note: strings.TrimSpace(fmt.Sprintf("%s → %s", in.out.Previous, args.Version))})
	}
	if err := in.proposeRemovals(ctx, call.Host, p, files[1].Entries); err != nil {
		return nil, err
	}
	if len(p.Diff) > 0 {
		p.Stays = []string{in.release()}
		if in.out.Current != in.out.Previous {
			p.Before = in.was
		}
		p.Do = func(ctx context.Context, host modules.Host) error { return in.do(ctx, host, call) }
	}
	return p, nil
}

func newInstall(call *modules.Call, args installPkgArgs) (*install, error) {
	args.Dest = path.Clean(args.Dest)
	in := &install{installPkgArgs: args, keepers: map[string]bool{}}
	in.out = &installed{Version: args.Version, Removed: []string{}, Path: in.release()}
	if !regexp.MustCompile(versionPattern).MatchString(args.Version) {
		return nil, &modules.ArgumentError{Arg: "version", Problem: fmt.Sprintf("version is %q", args.Version),
			Hint: "use letters, digits and . _ + -, and begin with a letter or digit"}
	}
	in.sum = strings.ToLower(strings.TrimPrefix(args.Checksum, "sha256:"))
	if in.sum != "" && !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(in.sum) {
		return nil, &modules.ArgumentError{Arg: "checksum", Problem: "checksum is no SHA-256", Hint: "write its 64 hexadecimal digits, as sha256sum prints them"}
	}
	if err := in.openSource(call); err != nil {
		return nil, err
	}
	in.upload = path.Join(args.Dest, ".uploads", in.sum)
	return in, nil
}

// openSource finds the package on the control node; its checksum must be the one asked for.
func (in *install) openSource(call *modules.Call) error {
	switch {
	case in.Src == "":
		return nil
	case in.RemoteSrc:
		if !path.IsAbs(in.Src) {
			return &modules.ArgumentError{Arg: "src", Problem: "src is a relative path", Hint: "with remote_src, write an absolute one"}
		}
		return nil
	case isAddress(in.Src):
		if in.sum == "" {
			return &modules.ArgumentError{Arg: "checksum", Problem: "a package from an address needs a checksum", Hint: "add checksum: sha256:…"}
		}
		return nil
	}
	source, err := call.Open("files", in.Src)
	if err != nil {
		// A host that has the release needs no package; one that has not says so with this error.
		in.source = missingSource{name: in.Src, err: err}
		return nil
	}
	sum, err := source.SHA256()
	if err != nil {
		return err
	}
	if in.sum != "" && in.sum != sum {
		return fmt.Errorf("%s has the checksum %s, not %s; it is another package or a damaged one", source.Name(), sum, in.sum)
	}
	in.source, in.sum = source, sum
	return nil
}

func isAddress(src string) bool {
	u, err := url.Parse(src)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}

func (in *install) releases() string { return path.Join(in.Dest, "releases") }
func (in *install) release() string  { return path.Join(in.Dest, "releases", in.Version) }
func (in *install) current() string  { return path.Join(in.Dest, "current") }

// read takes in what is there.
func (in *install) read(files []modules.File) error {
	if err := in.readLink(files[0]); err != nil {
		return err
	}
	in.out.Current = in.out.Previous
	for _, e := range files[1].Entries {
		in.there = in.there || path.Base(e.Path) == in.Version
	}
	if len(files) > 4 {
		in.arrived = files[4].Kind == modules.Regular && files[4].Sum == in.sum
	}
	if in.Activate {
		in.out.Current = in.Version
	}
	if !in.there {
		return nil
	}
	var r receipt
	if len(files[2].Content) > 0 {
		if err := json.Unmarshal(files[2].Content, &r); err != nil {
			return fmt.Errorf("read %s: %w", files[2].Path, err)
		}
	}
	if r.SHA256 != "" && in.sum != "" && r.SHA256 != in.sum {
		return fmt.Errorf("release %s is there and came from another package (%s…, not %s…); give this one another version, or remove %s",
			in.Version, r.SHA256[:12], in.sum[:12], in.release())
	}
	in.out.Checksum = r.SHA256
	return nil
}

// readLink takes in which release is the current one.
func (in *install) readLink(link modules.File) error {
	switch link.Kind {
	case modules.Missing:
	case modules.Symlink:
		in.out.Previous = path.Base(link.Target)
		in.was = releaseBefore{in.out.Previous, link.UID, link.GID}
	default:
		return fmt.Errorf("%s is a %s and not the link to the version in use; move it away first", link.Path, link.Kind)
	}
	return nil
}

// proposeRelease decides how the release gets there.
func (in *install) proposeRelease(ctx context.Context, host modules.Host, p *modules.Proposal, disk modules.File) error {
	if in.Src == "" {
		return fmt.Errorf("release %s is not in %s, and no src says where to take it from", in.Version, in.releases())
	}
	if missing, ok := in.source.(missingSource); ok {
		return missing.err
	}
	if in.RemoteSrc {
		files, err := host.Look(ctx, modules.Query{Path: in.Src, Follow: true, Sum: true})
		if err != nil {
			return err
		}
		switch {
		case files[0].Kind != modules.Regular:
			return &modules.FileError{Op: "install", Path: in.Src, Kind: fs.ErrNotExist, Text: "no such file on the host"}
		case in.sum != "" && in.sum != files[0].Sum:
			return fmt.Errorf("%s on the host has the checksum %s, not %s", in.Src, files[0].Sum, in.sum)
		}
		in.sum, in.upload, in.arrived = files[0].Sum, in.Src, true
	}
	in.out.Checksum, in.out.Sent = in.sum, !in.arrived
	if in.source != nil && !in.arrived && disk.DiskTotal > 0 && disk.DiskFree < 2*in.source.Size() {
		return fmt.Errorf("%s has %d MiB free, and the package alone has %d MiB: %w", in.Dest, disk.DiskFree>>20, in.source.Size()>>20, modules.ErrNoSpace)
	}
	note := "is installed"
	if in.arrived {
		note = "is installed from the package that is on the host"
	}
	p.Diff = append(p.Diff, modules.Diff{Subject: in.release(), Note: note})
	return nil
}

// proposeRemovals decides which old releases go.
func (in *install) proposeRemovals(ctx context.Context, host modules.Host, p *modules.Proposal, entries []modules.File) error {
	names := []string{in.Version}
	for _, name := range in.newestFirst(entries) {
		if name != in.Version {
			names = append(names, name)
		}
	}
	in.out.Releases = names
	if in.Keep == 0 || len(names) <= in.Keep {
		return nil
	}
	running, err := in.running(ctx, host)
	if err != nil {
		return err
	}
	kept := []string{}
	for i, name := range names {
		if i < in.Keep || name == in.out.Current || running[name] {
			kept = append(kept, name)
			continue
		}
		in.out.Removed = append(in.out.Removed, name)
		p.Diff = append(p.Diff, modules.Diff{Subject: path.Join(in.releases(), name), Note: "old release is removed"})
	}
	in.out.Releases = kept
	return nil
}

// running finds the releases that processes run from, by their programs and folders. Only root can look
// at other users' processes.
func (in *install) running(ctx context.Context, host modules.Host) (map[string]bool, error) {
	files, err := host.Look(ctx, modules.Query{Path: "/proc", List: true}, modules.Query{Path: "/proc/self", Follow: true})
	if err != nil {
		return nil, err
	}
	var queries []modules.Query
	for _, e := range files[0].Entries {
		pid := path.Base(e.Path)
		if e.Kind == modules.Directory && strings.Trim(pid, "0123456789") == "" && (files[1].UID == 0 || e.UID == files[1].UID) {
			queries = append(queries, modules.Query{Path: e.Path + "/exe"}, modules.Query{Path: e.Path + "/cwd"})
		}
	}
	links, err := host.Look(ctx, queries...)
	if err != nil {
		return nil, err
	}
	running := map[string]bool{}
	for _, f := range links {
		// The kernel's path has no links in it, so what stands before releases may differ from dest.
		if _, rest, ok := strings.Cut(f.Target, "/releases/"); ok {
			name, _, _ := strings.Cut(strings.TrimSuffix(rest, " (deleted)"), "/")
			running[name] = true
		}
	}
	return running, nil
}

// do sends the package where it is needed, unpacks it beside its place, and moves it there: all of it in
// one round trip. A package that arrived whole is found again under its checksum when what follows breaks,
// and of one that did not, what had come is (see modules.WriteFile).
func (in *install) do(ctx context.Context, host modules.Host, call *modules.Call) error {
	var changes []modules.Change
	if !in.there {
		send, err := in.send(ctx, call)
		if err != nil {
			return err
		}
		changes = append(send, in.unpack()...)
	}
	if in.leftover {
		changes = append(changes, modules.Change{Kind: modules.Remove, Path: in.upload})
	}
	if in.Activate && in.out.Previous != in.Version {
		changes = append(changes, modules.Change{Kind: modules.MakeLink, Path: in.current(), Target: path.Join("releases", in.Version),
			Attributes: modules.Attributes{Owner: in.Owner, Group: in.Group}})
	}
	for _, name := range in.out.Removed {
		changes = append(changes, modules.Change{Kind: modules.Remove, Path: path.Join(in.releases(), name)})
	}
	return host.Apply(ctx, changes...)
}

// send puts the package on the host under its checksum. The host refuses what does not fit to it.
func (in *install) send(ctx context.Context, call *modules.Call) ([]modules.Change, error) {
	if in.arrived {
		return nil, nil
	}
	source := in.source
	if source == nil {
		var err error
		if source, err = fetchPackage(ctx, in.Src, in.sum, in.Timeout, call.Note); err != nil {
			return nil, err
		}
	}
	// It was right a moment ago; what is sent now is held to the same sum on its way.
	if sum, err := source.SHA256(); err != nil {
		return nil, err
	} else if sum != in.sum {
		return nil, fmt.Errorf("%s changed while it was being installed; it has the checksum %s, not %s", source.Name(), sum, in.sum)
	}
	call.Note("sends %s, %d MiB", path.Base(source.Name()), source.Size()>>20)
	private := uint32(0o600)
	return []modules.Change{
		{Kind: modules.MakeDirectory, Path: path.Dir(in.upload)},
		{Kind: modules.WriteFile, Path: in.upload, Content: source, Attributes: modules.Attributes{Mode: &private}},
	}, nil
}

// unpack makes the release beside its place; the rename at the end is what makes it be there.
func (in *install) unpack() []modules.Change {
	temp := path.Join(in.releases(), "."+in.Version+".new")
	raw, err := json.Marshal(receipt{Version: in.Version, SHA256: in.sum})
	if err != nil {
		panic("builtin: receipt: " + err.Error())
	}
	changes := []modules.Change{
		{Kind: modules.Remove, Path: temp}, // what an earlier attempt left
		{Kind: modules.MakeDirectory, Path: temp},
		{Kind: modules.Unpack, Path: in.upload, Target: temp, Strip: in.Strip},
		{Kind: modules.WriteFile, Path: path.Join(temp, receiptFile), Content: modules.Bytes(receiptFile, append(raw, '\n'))},
	}
	if in.Owner != "" || in.Group != "" {
		changes = append(changes, modules.Change{Kind: modules.SetAttributes, Path: temp, Recursive: true,
			Attributes: modules.Attributes{Owner: in.Owner, Group: in.Group}})
	}
	changes = append(changes, modules.Change{Kind: modules.Rename, Path: temp, Target: in.release()})
	if !in.RemoteSrc {
		changes = append(changes, modules.Change{Kind: modules.Remove, Path: in.upload})
	}
	return changes
}
