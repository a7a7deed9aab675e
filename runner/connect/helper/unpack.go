package helper

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/pegbook/pegbook/runner/connect/helper/wire"
)

// member is one entry of an archive. name is relative and clean, after stripping.
type member struct {
	name     string
	mode     uint32
	kind     wire.FileKind
	target   string // of a symbolic link, as it stands
	hardlink string // of a hard link, relative to the archive
	modified time.Time
}

// unpack goes through the archive twice: nothing is written before every name has been seen.
func unpack(ctx context.Context, c *wire.Change, who ids, k *keeper) error {
	check := &checker{links: map[string]bool{}}
	if err := walkArchive(ctx, c, func(m member, _ io.Reader) error { return check.add(m) }); err != nil {
		return err
	}
	root, err := os.OpenRoot(c.Target)
	if err != nil {
		return refuse(verb(c.Kind), c.Target, err)
	}
	defer root.Close()
	x := &extractor{root: root, who: who, dir: c.Target, keep: k}
	err = walkArchive(ctx, c, x.extract)
	if err == nil {
		err = x.finish()
	}
	k.unpacked(x)
	return err
}

// checker refuses an archive with an entry that would land outside.
type checker struct {
	links map[string]bool // symbolic links of the archive that lead outside
}

func (k *checker) add(m member) error {
	for parent := path.Dir(m.name); parent != "."; parent = path.Dir(parent) {
		if k.links[parent] {
			return errors.New("the archive writes " + m.name + " through a link that leads outside the directory")
		}
	}
	if m.kind == wire.Symlink {
		to := path.Join(path.Dir(m.name), m.target)
		if path.IsAbs(m.target) || !filepath.IsLocal(to) {
			k.links[m.name] = true
		}
	}
	if m.hardlink != "" && k.links[m.hardlink] {
		return errors.New("the archive links " + m.name + " to something outside the directory")
	}
	return nil
}

// stripped drops leading elements of an entry's name; "" is an entry that vanishes with them.
func stripped(name string, strip int) (string, error) {
	if path.IsAbs(name) || strings.ContainsRune(name, 0) {
		return "", errors.New("the archive holds " + name + ", which would land outside the directory")
	}
	clean := path.Clean(name)
	if !filepath.IsLocal(clean) {
		return "", errors.New("the archive holds " + name + ", which would land outside the directory")
	}
	for range strip {
		_, rest, ok := strings.Cut(clean, "/")
		if !ok {
			return "", nil
		}
		clean = rest
	}
	if clean == "." {
		return "", nil
	}
	return clean, nil
}

// walkArchive gives every entry of an archive, told by its first bytes, to use.
func walkArchive(ctx context.Context, c *wire.Change, use func(member, io.Reader) error) error {
	file, err := os.Open(c.Path)
	if err != nil {
		return err
	}
	defer file.Close()
	buffered := bufio.NewReaderSize(&cancelReader{ctx, file}, 64<<10)
	head, _ := buffered.Peek(4)
	switch {
	case len(head) >= 2 && head[0] == 0x1f && head[1] == 0x8b:
		unzipped, err := gzip.NewReader(buffered)
		if err != nil {
			return err
		}
		return walkTar(unzipped, c.Strip, use)
	case string(head) == "PK\x03\x04" || string(head) == "PK\x05\x06":
		info, err := file.Stat()
		if err != nil {
			return err
		}
		return walkZip(ctx, file, info.Size(), c.Strip, use)
	}
	return walkTar(buffered, c.Strip, use)
}

func walkTar(r io.Reader, strip int, use func(member, io.Reader) error) error {
	entries := tar.NewReader(r)
	for n := 0; ; n++ {
		h, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			if n == 0 {
				return errors.New("not an archive that can be unpacked (tar, tar.gz, zip)")
			}
			return err
		}
		m := member{mode: uint32(h.Mode) & 0o7777, modified: h.ModTime, target: h.Linkname}
		switch h.Typeflag {
		case tar.TypeReg, tar.TypeGNUSparse:
			m.kind = wire.Regular
		case tar.TypeDir:
			m.kind = wire.Directory
		case tar.TypeSymlink:
			m.kind = wire.Symlink
		case tar.TypeLink:
			m.kind = wire.Regular
			if m.hardlink, err = stripped(h.Linkname, strip); err != nil {
				return err
			}
		case tar.TypeXGlobalHeader:
			continue
		default:
			return errors.New("the archive holds " + h.Name + ", a device or something else that is no file")
		}
		if m.name, err = stripped(h.Name, strip); err != nil {
			return err
		}
		if m.name == "" {
			continue
		}
		if err := use(m, entries); err != nil {
			return err
		}
	}
}

func walkZip(ctx context.Context, file *os.File, size int64, strip int, use func(member, io.Reader) error) error {
	entries, err := zip.NewReader(file, size)
	if err != nil {
		return err
	}
	for _, f := range entries.File {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := walkZipEntry(f, strip, use); err != nil {
			return err
		}
	}
	return nil
}

func walkZipEntry(f *zip.File, strip int, use func(member, io.Reader) error) error {
	name, err := stripped(f.Name, strip)
	if err != nil || name == "" {
		return err
	}
	m := member{name: name, mode: uint32(f.Mode().Perm()), modified: f.Modified}
	content, err := f.Open()
	if err != nil {
		return err
	}
	defer content.Close()
	switch {
	case f.Mode().IsDir():
		m.kind = wire.Directory
	case f.Mode()&fs.ModeSymlink != 0:
		m.kind = wire.Symlink
		target, err := io.ReadAll(io.LimitReader(content, 4096))
		if err != nil {
			return err
		}
		m.target = string(target)
	case f.Mode().IsRegular():
		m.kind = wire.Regular
	default:
		return errors.New("the archive holds " + f.Name + ", which is no file")
	}
	if m.mode == 0 {
		m.mode = 0o644
		if m.kind == wire.Directory {
			m.mode = 0o755
		}
	}
	return use(m, content)
}

// extractor writes entries below a root that no link can lead out of.
type extractor struct {
	root        *os.Root
	who         ids
	directories []member
	dir         string // of root
	keep        *keeper
}

func (x *extractor) extract(m member, content io.Reader) error {
	x.keep.member(x, m)
	if err := x.root.MkdirAll(path.Dir(m.name), 0o755); err != nil {
		return err
	}
	switch {
	case m.kind == wire.Directory:
		x.directories = append(x.directories, m)
		return x.root.MkdirAll(m.name, 0o755)
	case m.kind == wire.Symlink:
		if err := x.clear(m.name); err != nil {
			return err
		}
		if err := x.root.Symlink(m.target, m.name); err != nil {
			return err
		}
		return x.own(m.name)
	case m.hardlink != "":
		if err := x.clear(m.name); err != nil {
			return err
		}
		return x.root.Link(m.hardlink, m.name)
	}
	return x.file(m, content)
}

// file replaces rather than overwrites: a program that runs from the old file keeps it.
func (x *extractor) file(m member, content io.Reader) error {
	if err := x.clear(m.name); err != nil {
		return err
	}
	file, err := x.root.OpenFile(m.name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, content)
	if err == nil && (x.who.uid >= 0 || x.who.gid >= 0) {
		err = file.Chown(x.who.uid, x.who.gid)
	}
	if err == nil {
		err = syscall.Fchmod(int(file.Fd()), m.mode)
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	return x.root.Chtimes(m.name, m.modified, m.modified)
}

func (x *extractor) clear(name string) error {
	info, err := x.root.Lstat(name)
	if isMissing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.IsDir() {
		return errors.New("the directory " + name + " is in the way of an entry that is none")
	}
	return x.root.Remove(name)
}

func (x *extractor) own(name string) error {
	if x.who.uid < 0 && x.who.gid < 0 {
		return nil
	}
	return x.root.Lchown(name, x.who.uid, x.who.gid)
}

// finish gives directories their attributes, the deepest first: one may forbid writing into it.
func (x *extractor) finish() error {
	for i := len(x.directories) - 1; i >= 0; i-- {
		m := x.directories[i]
		if err := x.own(m.name); err != nil {
			return err
		}
		if err := x.root.Chmod(m.name, fs.FileMode(m.mode&0o777)); err != nil {
			return err
		}
		if err := x.root.Chtimes(m.name, m.modified, m.modified); err != nil {
			return err
		}
	}
	return nil
}
