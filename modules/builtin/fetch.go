package builtin

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/pegbook/pegbook/modules"
)

// Fetch copies a file of a host to the control node.
func Fetch() *modules.Module {
	return modules.Define("fetch", `Copy a file of a host to the control node

The file goes to DEST/HOST/PATH, so that those of several hosts stay apart; with flat it goes to dest
itself, or below it when dest ends with a slash. A relative dest lies in the playbook's folder. Nothing is
written outside of dest, whatever host and path are called and whatever links are there. The file is
replaced in one step, when its SHA-256 differs. Check mode writes nothing.

    - name: logs of all servers
      fetch:
        src: /var/log/app/app.log
        dest: logs

    - name: one file under a name of our own
      fetch:
        src: /etc/app.conf
        dest: "fetched/{{ .inventory_hostname }}.conf"
        flat: true`, proposeFetch)
}

type fetchArgs struct {
	Src              string `arg:"src,path,required" doc:"the file on the host"`
	Dest             string `arg:"dest,required" doc:"folder of the control node; with flat the file"`
	Flat             bool   `arg:"flat" doc:"whether dest is the file itself, without folders for host and path"`
	FailOnMissing    bool   `arg:"fail_on_missing" default:"true" doc:"whether the task fails when the file is not there or cannot be copied"`
	ValidateChecksum bool   `arg:"validate_checksum" default:"true" doc:"whether what arrived is compared with the file's checksum on the host"`
}

// fetched is what fetch registers.
type fetched struct {
	File           string `json:"file"`
	Dest           string `json:"dest,omitempty"`
	Checksum       string `json:"checksum,omitempty"`
	RemoteChecksum string `json:"remote_checksum,omitempty"`
	Size           int64  `json:"size,omitempty"`
	Msg            string `json:"msg,omitempty"`
}

func proposeFetch(ctx context.Context, call *modules.Call, args fetchArgs) (*modules.Proposal, error) {
	src := path.Clean(args.Src)
	to, err := args.place(call, src)
	if err != nil {
		return nil, err
	}
	files, err := call.Host.Look(ctx, modules.Query{Path: src, Follow: true, Sum: true})
	if err != nil && !errors.Is(err, fs.ErrPermission) {
		return nil, err
	}
	if problem := unfetchable(src, files, err); problem != nil {
		if args.FailOnMissing {
			return nil, problem
		}
		out := fetched{File: args.Src, Msg: problem.Error() + ", ignored"}
		return &modules.Proposal{Output: out, Message: out.Msg}, nil
	}
	f := files[0]
	out := &fetched{File: args.Src, Dest: to.path(), Checksum: f.Sum, RemoteChecksum: f.Sum, Size: f.Size}
	p := &modules.Proposal{Output: out}
	sum, err := to.sum()
	if predicted, ok := call.Host.Predicted("fetch" + to.path()); ok {
		sum = predicted
	}
	if err != nil || sum == f.Sum {
		return p, err
	}
	p.Diff = []modules.Diff{{Subject: to.path(), Note: "is copied from " + src}}
	// Check mode has no layer above the control node's files, so Do must not run there.
	p.Predicts = map[string]string{"fetch" + to.path(): f.Sum}
	p.Do = func(ctx context.Context, host modules.Host) error {
		sum, size, err := to.write(func(w io.Writer) error { return readFrom(ctx, host, f, w) })
		if err != nil {
			return err
		}
		if out.Checksum, out.Size = sum, size; args.ValidateChecksum && sum != f.Sum {
			return fmt.Errorf("%s has the checksum %s here and %s on the host; has it changed meanwhile?", to.path(), sum, f.Sum)
		}
		return nil
	}
	return p, nil
}

// unfetchable says why a file cannot be copied; nil: it can.
func unfetchable(src string, files []modules.File, err error) error {
	switch {
	case err != nil:
		return err
	case files[0].Kind == modules.Missing:
		return &modules.FileError{Op: "fetch", Path: src, Kind: fs.ErrNotExist, Text: "the remote file does not exist"}
	case files[0].Kind != modules.Regular:
		return fmt.Errorf("%s is a %s; fetch copies files", src, files[0].Kind)
	}
	return nil
}

// destination is a file of the control node below a folder that it cannot leave.
type destination struct {
	root string // absolute
	name string // relative to root, with slashes
}

func (d destination) path() string { return filepath.Join(d.root, filepath.FromSlash(d.name)) }

// place says where the file goes.
func (a fetchArgs) place(call *modules.Call, src string) (destination, error) {
	dest := a.Dest
	if !filepath.IsAbs(dest) {
		dest = filepath.Join(call.Dir, dest)
	}
	base := path.Base(src)
	switch {
	case base == "/":
		return destination{}, &modules.ArgumentError{Arg: "src", Problem: "src is a directory", Hint: "name a file"}
	case !a.Flat:
		host := call.Hostname
		if host == "" || host == "." || host == ".." || strings.ContainsAny(host, "/\x00") {
			return destination{}, fmt.Errorf("%q cannot be the name of a folder; use flat with a name of your own", host)
		}
		return destination{filepath.Clean(dest), path.Join(host, src)}, nil
	case strings.HasSuffix(a.Dest, "/"):
		return destination{filepath.Clean(dest), base}, nil
	}
	if info, err := os.Stat(dest); err == nil && info.IsDir() {
		return destination{}, &modules.ArgumentError{Arg: "dest", Problem: dest + " is a directory", Hint: "write a slash behind it to put the file into it"}
	}
	return destination{filepath.Dir(dest), filepath.Base(dest)}, nil
}

// sum is the SHA-256 of the file that is there; empty: there is none.
func (d destination) sum() (string, error) {
	root, err := os.OpenRoot(d.root)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer root.Close()
	info, err := root.Lstat(d.name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Mode()&fs.ModeSymlink != 0 {
		return "", nil // a link is replaced
	}
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s is no regular file", d.path())
	}
	f, err := root.Open(d.name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// write makes the file, with its folders, through a temporary one beside it.
func (d destination) write(fill func(io.Writer) error) (sum string, size int64, err error) {
	if err := os.MkdirAll(d.root, 0o755); err != nil {
		return "", 0, err
	}
	root, err := os.OpenRoot(d.root)
	if err != nil {
		return "", 0, err
	}
	defer root.Close()
	if err := root.MkdirAll(path.Dir(d.name), 0o755); err != nil {
		return "", 0, err
	}
	temp := path.Join(path.Dir(d.name), ".fetch-"+rand.Text())
	f, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return "", 0, err
	}
	defer func() {
		if err != nil {
			_ = root.Remove(temp) // the first error is what matters
		}
	}()
	h := sha256.New()
	counted := &counter{to: io.MultiWriter(f, h)}
	if err = errors.Join(fill(counted), f.Close()); err != nil {
		return "", 0, err
	}
	return hex.EncodeToString(h.Sum(nil)), counted.n, root.Rename(temp, d.name)
}

// counter counts what is written through it.
type counter struct {
	to io.Writer
	n  int64
}

// Write implements io.Writer.
func (c *counter) Write(b []byte) (int, error) {
	n, err := c.to.Write(b)
	c.n += int64(n)
	return n, err
}

const (
	// maxAtOnce is the longest file that is read in one piece.
	maxAtOnce = 8 << 20
	// chunk is how much of a longer one is read at a time; no more is held in memory.
	chunk = 8 << 20
)

// readFrom copies a file of a host, longer ones by pieces that the host's dd cuts.
func readFrom(ctx context.Context, host modules.Host, f modules.File, w io.Writer) error {
	if f.Size <= maxAtOnce {
		files, err := host.Look(ctx, modules.Query{Path: f.Path, Follow: true, Content: 2 * maxAtOnce})
		if err != nil {
			return err
		}
		if files[0].Kind != modules.Regular || files[0].Truncated {
			return fmt.Errorf("%s has changed while it was read", f.Path)
		}
		_, err = w.Write(files[0].Content)
		return err
	}
	for at := int64(0); at < f.Size; at += chunk {
		out, err := host.Run(ctx, modules.Command{ReadOnly: true, MaxOutput: 2*chunk + 2, Argv: []string{"dd", "if=" + f.Path,
			"bs=" + strconv.Itoa(chunk), "skip=" + strconv.FormatInt(at/chunk, 10), "count=1", "status=none"}})
		if err != nil {
			return fmt.Errorf("read %s: %w", f.Path, err)
		}
		if out.Truncated || int64(len(out.Stdout)) != min(chunk, f.Size-at) {
			return fmt.Errorf("%s has changed while it was read", f.Path)
		}
		if _, err := w.Write(out.Stdout); err != nil {
			return err
		}
	}
	return nil
}
