package builtin

import (
	"context"
	"fmt"
	"path"

	"github.com/pegbook/pegbook/modules"
)

// Stat reads a file's state.
func Stat() *modules.Module {
	return modules.Define("stat", `Read the state of a path

Registers the field stat with Ansible's names, and disk_total and disk_free of the file system in bytes.
A path that is not there is no error: stat.exists is false. The checksum is SHA-256 unless
checksum_algorithm says otherwise.

    - name: is the marker there
      stat:
        path: /srv/pegasus/marker
      register: marker

    - name: only where it is
      debug:
        msg: "{{ .marker.stat.size }} bytes"
      when: .marker.stat.exists`, proposeStat)
}

type statArgs struct {
	Path      string `arg:"path,path,required,alias=dest,alias=name" doc:"the path on the host"`
	Follow    bool   `arg:"follow" doc:"whether to look at what a link points to"`
	Checksum  bool   `arg:"get_checksum" default:"true" doc:"whether to read the whole file for its checksum"`
	Mime      bool   `arg:"get_mime,alias=mime,alias=mime_type" doc:"must be false: nothing is told of what kind the content is"`
	Attrs     bool   `arg:"get_attributes,alias=attr,alias=attributes" doc:"must be false: nothing is told of the file system's flags (lsattr)"`
	Algorithm string `arg:"checksum_algorithm,alias=checksum,alias=checksum_algo" default:"sha256" choices:"md5,sha1,sha224,sha256,sha384,sha512" doc:"how the checksum is made; another than sha256 costs a round trip"`
}

// statOutput is what stat registers, with Ansible's names.
type statOutput struct {
	Stat fileStat `json:"stat"`
}

// missingOutput is what it registers for a path that is not there: nothing else is known.
type missingOutput struct {
	Stat struct {
		Exists bool `json:"exists"`
	} `json:"stat"`
}

type fileStat struct {
	Exists bool `json:"exists"`
	fileBasics
	IsDir  bool `json:"isdir"`
	IsReg  bool `json:"isreg"`
	IsLink bool `json:"islnk"`
	// DiskTotal and DiskFree are of the file system, in bytes.
	DiskTotal int64  `json:"disk_total"`
	DiskFree  int64  `json:"disk_free"`
	Checksum  string `json:"checksum,omitempty"`
	// Target is what a link holds, Source the path that it leads to.
	Target string `json:"lnk_target,omitempty"`
	Source string `json:"lnk_source,omitempty"`
}

// fileBasics is what stat and find tell of a file alike.
type fileBasics struct {
	Path     string  `json:"path"`
	Mode     string  `json:"mode"`
	Size     int64   `json:"size"`
	UID      int     `json:"uid"`
	GID      int     `json:"gid"`
	Device   uint64  `json:"dev"`
	Owner    string  `json:"pw_name"`
	Group    string  `json:"gr_name"`
	Modified float64 `json:"mtime"`
	RUsr     bool    `json:"rusr"`
	WUsr     bool    `json:"wusr"`
	XUsr     bool    `json:"xusr"`
	RGrp     bool    `json:"rgrp"`
	WGrp     bool    `json:"wgrp"`
	XGrp     bool    `json:"xgrp"`
	ROth     bool    `json:"roth"`
	WOth     bool    `json:"woth"`
	XOth     bool    `json:"xoth"`
	IsUID    bool    `json:"isuid"`
	IsGID    bool    `json:"isgid"`
}

func basicsOf(p string, f modules.File) fileBasics {
	bit := func(b uint32) bool { return f.Mode&b != 0 }
	return fileBasics{
		Path: p, Mode: fmt.Sprintf("%04o", f.Mode), Size: f.Size, UID: f.UID, GID: f.GID, Device: f.Device, Owner: f.Owner, Group: f.Group,
		Modified: float64(f.Modified.UnixMilli()) / 1000,
		RUsr:     bit(0o400), WUsr: bit(0o200), XUsr: bit(0o100), RGrp: bit(0o040), WGrp: bit(0o020), XGrp: bit(0o010),
		ROth: bit(0o004), WOth: bit(0o002), XOth: bit(0o001), IsUID: bit(0o4000), IsGID: bit(0o2000),
	}
}

func proposeStat(ctx context.Context, call *modules.Call, args statArgs) (*modules.Proposal, error) {
	if args.Mime || args.Attrs {
		return nil, &modules.ArgumentError{Arg: "get_mime", Problem: "neither the kind of the content nor the file system's flags are told", Hint: "run file or lsattr with command"}
	}
	sha256 := args.Algorithm == "sha256"
	files, err := call.Host.Look(ctx, modules.Query{Path: args.Path, Follow: args.Follow, Sum: args.Checksum && sha256, Disk: true})
	if err != nil {
		return nil, err
	}
	f := files[0]
	if f.Kind == modules.Missing {
		return &modules.Proposal{Output: missingOutput{}}, nil
	}
	if args.Checksum && !sha256 && f.Kind == modules.Regular {
		if f.Sum, err = digestOn(ctx, call.Host, args.Algorithm, args.Path); err != nil {
			return nil, err
		}
	}
	s := fileStat{Exists: true, fileBasics: basicsOf(args.Path, f), IsDir: f.Kind == modules.Directory, IsReg: f.Kind == modules.Regular,
		IsLink: f.Kind == modules.Symlink, DiskTotal: f.DiskTotal, DiskFree: f.DiskFree, Checksum: f.Sum, Target: f.Target}
	if s.Source = f.Target; f.Target != "" && !path.IsAbs(f.Target) {
		s.Source = path.Join(path.Dir(path.Clean(args.Path)), f.Target)
	}
	return &modules.Proposal{Output: statOutput{s}}, nil
}
