package builtin

import (
	"context"
	"fmt"

	"github.com/pegbook/pegbook/modules"
)

// Stat reads a file's state.
func Stat() *modules.Module {
	return modules.Define("stat", `Read the state of a path

Registers the field stat with Ansible's names, and disk_total and disk_free of the file system in bytes.
A path that is not there is no error: stat.exists is false. The checksum is SHA-256.

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
	Algorithm string `arg:"checksum_algorithm" default:"sha256" choices:"sha256" doc:"how the checksum is made"`
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
	Exists bool   `json:"exists"`
	Path   string `json:"path"`
	Mode   string `json:"mode"`
	IsDir  bool   `json:"isdir"`
	IsReg  bool   `json:"isreg"`
	IsLink bool   `json:"islnk"`
	Size   int64  `json:"size"`
	UID    int    `json:"uid"`
	GID    int    `json:"gid"`
	Device uint64 `json:"dev"`
	// DiskTotal and DiskFree are of the file system, in bytes.
	DiskTotal int64   `json:"disk_total"`
	DiskFree  int64   `json:"disk_free"`
	Owner     string  `json:"pw_name"`
	Group     string  `json:"gr_name"`
	Modified  float64 `json:"mtime"`
	Checksum  string  `json:"checksum,omitempty"`
	Target    string  `json:"lnk_target,omitempty"`
	RUsr      bool    `json:"rusr"`
	WUsr      bool    `json:"wusr"`
	XUsr      bool    `json:"xusr"`
	RGrp      bool    `json:"rgrp"`
	WGrp      bool    `json:"wgrp"`
	XGrp      bool    `json:"xgrp"`
	ROth      bool    `json:"roth"`
	WOth      bool    `json:"woth"`
	XOth      bool    `json:"xoth"`
	IsUID     bool    `json:"isuid"`
	IsGID     bool    `json:"isgid"`
}

func proposeStat(ctx context.Context, call *modules.Call, args statArgs) (*modules.Proposal, error) {
	files, err := call.Host.Look(ctx, modules.Query{Path: args.Path, Follow: args.Follow, Sum: args.Checksum, Disk: true})
	if err != nil {
		return nil, err
	}
	f := files[0]
	if f.Kind == modules.Missing {
		return &modules.Proposal{Output: missingOutput{}}, nil
	}
	bit := func(b uint32) bool { return f.Mode&b != 0 }
	return &modules.Proposal{Output: statOutput{fileStat{
		Exists: true, Path: args.Path, Mode: fmt.Sprintf("%04o", f.Mode), IsDir: f.Kind == modules.Directory,
		IsReg: f.Kind == modules.Regular, IsLink: f.Kind == modules.Symlink, Size: f.Size,
		UID: f.UID, GID: f.GID, Device: f.Device, Owner: f.Owner, Group: f.Group,
		DiskTotal: f.DiskTotal, DiskFree: f.DiskFree,
		Modified: float64(f.Modified.UnixMilli()) / 1000, Checksum: f.Sum, Target: f.Target,
		RUsr: bit(0o400), WUsr: bit(0o200), XUsr: bit(0o100), RGrp: bit(0o040), WGrp: bit(0o020), XGrp: bit(0o010),
		ROth: bit(0o004), WOth: bit(0o002), XOth: bit(0o001), IsUID: bit(0o4000), IsGID: bit(0o2000),
	}}}, nil
}
