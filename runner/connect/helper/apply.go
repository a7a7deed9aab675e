package helper

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/pegbook/pegbook/runner/connect/helper/wire"
)

func (s *server) apply(ctx context.Context, changes []wire.Change, b *body) *wire.Error {
	var keep keepers
	defer keep.close()
	for i := range changes {
		c := &changes[i]
		if err := ctx.Err(); err != nil {
			return refuse(verb(c.Kind), c.Path, err)
		}
		// Content may have been a long time coming, and the control node may have stood still meanwhile.
		if i > 0 {
			if err := still(b.fencing); err != nil {
				return refuse(verb(c.Kind), c.Path, err)
			}
		}
		if err := s.change(ctx, c, b, keep.of(c)); err != nil {
			return refuse(verb(c.Kind), c.Path, err)
		}
	}
	return nil
}

func verb(k wire.ChangeKind) string {
	verbs := [...]string{"change", "write", "make directory", "link", "set attributes of", "remove", "rename", "unpack", "touch", "copy", "remove directory"}
	if int(k) >= len(verbs) {
		return verbs[0]
	}
	return verbs[k]
}

// change makes a change; k keeps what is there before, or is nil.
func (s *server) change(ctx context.Context, c *wire.Change, b *body, k *keeper) error {
	if !filepath.IsAbs(c.Path) || c.Stream < 0 || c.Strip < 0 {
		return errors.New("the path is not absolute")
	}
	if c.Sum != "" && !isSum(c.Sum) {
		return errors.New("the sum is no SHA-256")
	}
	switch c.Kind {
	case wire.CopyFile, wire.Rename, wire.Unpack:
		if !filepath.IsAbs(c.Target) {
			return errors.New("the target is not absolute")
		}
	}
	who, err := s.owner(c)
	if err != nil {
		return err
	}
	after := k.before(ctx, c, who)
	defer after()
	return makes(ctx, c, who, b, k)
}

// makes does what the change says.
func makes(ctx context.Context, c *wire.Change, who ids, b *body, k *keeper) error {
	switch c.Kind {
	case wire.WriteFile:
		return writeFile(ctx, c, who, b)
	case wire.MakeDirectory:
		return makeDirectory(c, who)
	case wire.MakeLink:
		return makeLink(c, who)
	case wire.SetAttributes:
		return setAttributes(ctx, c, who)
	case wire.Remove:
		return remove(c)
	case wire.Rename:
		return os.Rename(c.Path, c.Target)
	case wire.Unpack:
		return unpack(ctx, c, who, k)
	case wire.Touch:
		return touch(c, who)
	case wire.CopyFile:
		return copyFile(ctx, c, who)
	case wire.RemoveDirectory:
		return removeDirectory(c)
	}
	return errors.New("unknown kind of change")
}

// ids are the owner and group to set; -1 leaves one as it is.
type ids struct{ uid, gid int }

func (s *server) owner(c *wire.Change) (ids, error) {
	who := ids{-1, -1}
	if c.Owner != "" {
		e, ok := s.names.uid(c.Owner)
		if !ok {
			return who, errors.New("there is no user " + c.Owner)
		}
		who.uid = e.id
	}
	if c.Group != "" {
		e, ok := s.names.gid(c.Group)
		if !ok {
			return who, errors.New("there is no group " + c.Group)
		}
		who.gid = e.id
	}
	return who, nil
}

// ownLink sets owner and group of a link that was made a moment ago; of nothing else that may stand at its
// name by now.
func ownLink(path string, who ids) error {
	if who.uid < 0 && who.gid < 0 {
		return nil
	}
	const pathOnly, emptyPath = 0x200000, 0x1000 // O_PATH, AT_EMPTY_PATH
	fd, err := syscall.Open(path, pathOnly|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&syscall.S_IFMT != syscall.S_IFLNK || int(st.Uid) != os.Geteuid() {
		return errors.New("somebody else put a file there")
	}
	return syscall.Fchownat(fd, "", who.uid, who.gid, emptyPath)
}

// has says whether a file is theirs already.
func (who ids) has(info os.FileInfo) bool {
	st := info.Sys().(*syscall.Stat_t)
	return (who.uid < 0 || who.uid == int(st.Uid)) && (who.gid < 0 || who.gid == int(st.Gid))
}

// attributes sets what a change asks for, of what a link points to. chown first: it clears setuid.
func attributes(path string, c *wire.Change, who ids) error {
	if who.uid >= 0 || who.gid >= 0 {
		info, err := os.Stat(path)
		if err == nil && !who.has(info) {
			err = os.Chown(path, who.uid, who.gid)
		}
		if err != nil {
			return err
		}
	}
	if !c.HasMode {
		return nil
	}
	return syscall.Chmod(path, c.Mode&0o7777)
}

func makeDirectory(c *wire.Change, who ids) error {
	if err := os.MkdirAll(c.Path, 0o755); err != nil {
		if errors.Is(err, syscall.ENOTDIR) {
			return &wire.Error{Kind: wire.Exist, Op: verb(c.Kind), Path: c.Path, Text: "a file that is no directory is in the way"}
		}
		return err
	}
	return attributes(c.Path, c, who)
}

func makeLink(c *wire.Change, who ids) error {
	if info, err := os.Lstat(c.Path); err == nil {
		if info.IsDir() {
			return &wire.Error{Kind: wire.Exist, Op: verb(c.Kind), Path: c.Path, Text: "a directory is in the way"}
		}
		if c.Backup && info.Mode().IsRegular() {
			if c.BackedUp, err = backup(c.Path); err != nil {
				return err
			}
		}
	}
	// A link cannot be replaced in place: a new one is renamed over it.
	for temporary := c.Beside; ; temporary = "" {
		if temporary == "" {
			temporary = temporaryName(c.Path)
		}
		err := os.Symlink(c.Target, temporary)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err = ownLink(temporary, who); err == nil {
			err = os.Rename(temporary, c.Path)
		}
		if err != nil {
			os.Remove(temporary)
		}
		return err
	}
}

func setAttributes(ctx context.Context, c *wire.Change, who ids) error {
	if c.Within != "" {
		return attributesWithin(c, who)
	}
	info, err := os.Stat(c.Path)
	if err != nil {
		return err
	}
	if !c.Recursive || !info.IsDir() {
		return attributes(c.Path, c, who)
	}
	// Whoever owns the directory may put links into it while we are at work: no link leads out of a root.
	root, err := os.OpenRoot(c.Path)
	if err != nil {
		return err
	}
	defer root.Close()
	t := &treeChange{root: root, change: c, who: who}
	name, err := t.walk(ctx)
	if err != nil && name != "." {
		return refuse(verb(c.Kind), filepath.Join(c.Path, name), err)
	}
	return err
}

// attributesWithin changes what was found below a directory that may belong to somebody else.
func attributesWithin(c *wire.Change, who ids) error {
	name, err := filepath.Rel(c.Within, c.Path)
	if err != nil || !filepath.IsLocal(name) || c.Recursive {
		return errors.New("it is not below " + c.Within)
	}
	root, err := os.OpenRoot(c.Within)
	if err != nil {
		return err
	}
	defer root.Close()
	return (&treeChange{root: root, change: c, who: who}).attributes(name)
}

// treeChange gives everything below a root the same attributes.
type treeChange struct {
	root   *os.Root
	change *wire.Change
	who    ids
}

// walk gives the name of what it failed on.
func (t *treeChange) walk(ctx context.Context) (failed string, err error) {
	// A directory comes after what is in it: it may lose the permission to be walked.
	var directories []string
	err = fs.WalkDir(t.root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		failed = name
		switch {
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case entry.IsDir():
			directories = append(directories, name)
			return t.own(name)
		case entry.Type()&fs.ModeSymlink != 0:
			return t.own(name)
		}
		return t.attributes(name)
	})
	for i := len(directories) - 1; i >= 0 && err == nil; i-- {
		failed = directories[i]
		err = t.attributes(failed)
	}
	return failed, err
}

func (t *treeChange) own(name string) error {
	if t.who.uid < 0 && t.who.gid < 0 {
		return nil
	}
	info, err := t.root.Lstat(name)
	if err != nil || t.who.has(info) {
		return err
	}
	return t.root.Lchown(name, t.who.uid, t.who.gid)
}

func (t *treeChange) attributes(name string) error {
	if err := t.own(name); err != nil || !t.change.HasMode {
		return err
	}
	return t.root.Chmod(name, fileMode(t.change.Mode))
}

// fileMode is the bits of chmod(2) as Go has them.
func fileMode(mode uint32) fs.FileMode {
	m := fs.FileMode(mode & 0o777)
	for bit, flag := range map[uint32]fs.FileMode{syscall.S_ISUID: fs.ModeSetuid, syscall.S_ISGID: fs.ModeSetgid, syscall.S_ISVTX: fs.ModeSticky} {
		if mode&bit != 0 {
			m |= flag
		}
	}
	return m
}

func remove(c *wire.Change) error {
	if filepath.Clean(c.Path) == "/" {
		return errors.New("this is the root of the file system")
	}
	if err := os.RemoveAll(c.Path); err != nil && !isMissing(err) {
		var where *os.PathError
		if errors.As(err, &where) {
			return refuse(verb(c.Kind), where.Path, err)
		}
		return err
	}
	return nil
}

// removeDirectory removes a directory that is empty.
func removeDirectory(c *wire.Change) error {
	err := syscall.Rmdir(c.Path)
	if isMissing(err) && !errors.Is(err, syscall.ENOTDIR) {
		return nil
	}
	return err
}

func touch(c *wire.Change, who ids) error {
	file, err := os.OpenFile(c.Path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	switch {
	case err == nil:
		file.Close()
	case errors.Is(err, fs.ErrExist):
		now := time.Now()
		if err := os.Chtimes(c.Path, now, now); err != nil {
			return err
		}
	default:
		return err
	}
	return attributes(c.Path, c, who)
}

// backup keeps a file under a name with the time in it. A second name for the same file costs nothing,
// and what replaces the file comes by rename, which leaves the old one whole.
func backup(path string) (string, error) {
	name := path + "." + stamp(time.Now())
	for i := 0; ; i++ {
		to := name + "~"
		if i > 0 {
			to = name + "-" + strconv.Itoa(i) + "~"
		}
		err := os.Link(path, to)
		if !errors.Is(err, fs.ErrExist) {
			return to, err
		}
	}
}
