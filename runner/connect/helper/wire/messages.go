package wire

import (
	"math"
	"slices"
)

// FileKind is what a path is, ChangeKind what a change does, ErrorKind why something was refused. The
// numbers are part of the wire.
type (
	FileKind   byte
	ChangeKind byte
	ErrorKind  byte
)

// Kinds of file.
const (
	Missing FileKind = iota
	Regular
	Directory
	Symlink
	Other
)

// Kinds of change, in the order of the modules package.
const (
	WriteFile ChangeKind = 1 + iota
	MakeDirectory
	MakeLink
	SetAttributes
	Remove
	Rename
	Unpack
	Touch
	CopyFile
	RemoveDirectory
)

// Kinds of error.
const (
	Failed ErrorKind = 1 + iota
	NotExist
	Exist
	Permission
	NoSpace
	Canceled
	// Protocol is a request that the helper does not understand: a bug, never the user's doing.
	Protocol
	// Stale is a request of somebody who holds a lock no longer. The error's Path is the lock's key, its Text the
	// token of the newer holder, a space, and who that is.
	Stale
)

// Query asks for the state of one path.
type Query struct {
	Path                    string
	Content                 int64
	Follow, Sum, List, Disk bool
}

// File is the state of one path. Modified is in nanoseconds since 1970.
type File struct {
	Path                string
	Kind                FileKind
	Truncated           bool
	Mode                uint32
	Size                int64
	UID, GID            int
	Owner, Group        string
	Modified            int64
	Target, Sum         string
	Content             []byte
	Entries             []File
	DiskTotal, DiskFree int64
	Device              uint64
}

// Change is one change of files. Content is what WriteFile writes when Streamed is false; else Stream
// bytes of it come in Data frames, in the order of the changes. Sum is the SHA-256 of streamed content in
// hexadecimal, "" where it is not known.
type Change struct {
	Kind                                 ChangeKind
	Path, Target, Sum, Within            string
	Content                              []byte
	Stream                               int64
	Strip                                int
	Mode                                 uint32
	Owner, Group                         string
	Streamed, Backup, Recursive, HasMode bool
	// Keep is under which name, RUN/STEP, the helper keeps what is there before; "" keeps nothing. Base is the folder
	// for that, as Fencing has it.
	Keep, Base string
	// BackedUp is set by the helper: where Backup has put the file. It is no part of the message.
	BackedUp string
	// Beside is set by the helper, too: the name under which the new content is made before it takes its place.
	Beside string
}

// Resumes says whether the content goes on where an earlier request with the same content broke off.
func (c *Change) Resumes() bool { return c.Streamed && c.Stream > ResumeLen && c.Sum != "" }

// Command is a command to run. Env are NAME=value. Stdin is the input when Streamed is false; else
// Stream bytes of it come in Data frames.
type Command struct {
	Argv             []string
	Dir              string
	Env              []string
	Stdin            []byte
	Stream           int64
	Log              string
	MaxOutput        int
	Streamed, Detach bool
}

// Output is what a command left. Started and Ended are nanoseconds since 1970 by the host's clock.
type Output struct {
	ExitCode       int
	PID            int
	Started, Ended int64
	Truncated      bool
	Stdout, Stderr []byte
}

// Error is why a request was refused.
type Error struct {
	Kind           ErrorKind
	Op, Path, Text string
}

// Error is the operation, the path and the reason.
func (e *Error) Error() string { return e.Op + " " + e.Path + ": " + e.Text }

// AppendLook appends a Look request to b, ParseLook reads it.
func AppendLook(b []byte, queries []Query) []byte {
	e := encoder{append(b, byte(Look))}
	e.uint(uint64(len(queries)))
	for _, q := range queries {
		e.string(q.Path)
		e.flags(q.Follow, q.Sum, q.List, q.Disk)
		e.int(q.Content)
	}
	return e.b
}

// ParseLook reads what AppendLook wrote after the Op byte.
func ParseLook(b []byte) ([]Query, error) {
	d := decoder{b: b}
	queries := make([]Query, d.count(3))
	for i := range queries {
		q := &queries[i]
		q.Path = d.string()
		d.flags(&q.Follow, &q.Sum, &q.List, &q.Disk)
		q.Content = d.int()
	}
	return queries, d.end()
}

// AppendFiles appends the answer to Look.
func AppendFiles(b []byte, files []File) []byte {
	e := encoder{append(b, 0)}
	e.files(files)
	return e.b
}

func (e *encoder) files(files []File) {
	e.uint(uint64(len(files)))
	for i := range files {
		e.file(&files[i])
	}
}

func (e *encoder) file(f *File) {
	e.string(f.Path)
	e.uint(uint64(f.Kind))
	if f.Kind == Missing && f.Device == 0 {
		e.uint(0)
		return
	}
	e.uint(1)
	e.flags(f.Truncated)
	e.uint(uint64(f.Mode))
	e.int(f.Size)
	e.int(int64(f.UID))
	e.int(int64(f.GID))
	e.string(f.Owner)
	e.string(f.Group)
	e.int(f.Modified)
	e.string(f.Target)
	e.string(f.Sum)
	e.bytes(f.Content)
	e.files(f.Entries)
	e.int(f.DiskTotal)
	e.int(f.DiskFree)
	e.uint(f.Device)
}

// fileLen is the fewest bytes that a file takes.
const fileLen = 3

// MaxEntries bounds how many entries of directories one answer holds, MaxListing how many bytes of them: a
// host must not fill the control node's memory.
const (
	MaxEntries = 1 << 17
	MaxListing = 64 << 20
)

// ParseFiles reads the answer to Look of so many queries; a refusal is *Error.
func ParseFiles(b []byte, queries int) ([]File, error) {
	d, err := answer(b)
	if err != nil {
		return nil, err
	}
	d.room = queries + MaxEntries
	files := d.files(0)
	if len(files) != queries {
		d.fail()
	}
	return files, d.end()
}

// files reads a list. A file of a list may have a list of its own, the entries of a directory, and no
// more: a message cannot nest without end.
func (d *decoder) files(depth int) []File {
	n := d.count(fileLen)
	if n == 0 {
		return nil
	}
	if d.room -= n; d.room < 0 || depth > 1 {
		d.fail()
		return nil
	}
	// A list takes memory as it is read: a short message cannot ask for much of it.
	files := make([]File, 0, min(n, 1024))
	for range n {
		files = append(files, d.file(depth))
		if d.err != nil {
			return nil
		}
	}
	return files
}

func (d *decoder) file(depth int) File {
	f := File{Path: d.string(), Kind: FileKind(d.uint())}
	if d.uint() == 0 {
		return f
	}
	d.flags(&f.Truncated)
	f.Mode = uint32(d.uint())
	f.Size = d.int()
	f.UID = int(d.int())
	f.GID = int(d.int())
	f.Owner = d.string()
	f.Group = d.string()
	f.Modified = d.int()
	f.Target = d.string()
	f.Sum = d.string()
	f.Content = d.bytes()
	f.Entries = d.files(depth + 1)
	f.DiskTotal = d.int()
	f.DiskFree = d.int()
	f.Device = d.uint()
	return f
}

// AppendApply appends an Apply request to b, ParseApply reads it.
func AppendApply(b []byte, changes []Change) []byte {
	e := encoder{append(b, byte(Apply))}
	e.uint(uint64(len(changes)))
	for i := range changes {
		c := &changes[i]
		e.uint(uint64(c.Kind))
		e.string(c.Path)
		e.string(c.Target)
		e.string(c.Sum)
		e.string(c.Within)
		e.flags(c.Streamed, c.Backup, c.Recursive, c.HasMode)
		e.bytes(c.Content)
		e.int(c.Stream)
		e.int(int64(c.Strip))
		e.uint(uint64(c.Mode))
		e.string(c.Owner)
		e.string(c.Group)
		e.string(c.Keep)
		if c.Keep != "" {
			e.string(c.Base)
		}
	}
	return e.b
}

// ParseApply reads what AppendApply wrote after the Op byte.
func ParseApply(b []byte) ([]Change, error) {
	d := decoder{b: b}
	changes := make([]Change, d.count(13))
	for i := range changes {
		c := &changes[i]
		c.Kind = ChangeKind(d.uint())
		c.Path = d.string()
		c.Target = d.string()
		c.Sum = d.string()
		c.Within = d.string()
		d.flags(&c.Streamed, &c.Backup, &c.Recursive, &c.HasMode)
		c.Content = d.bytes()
		c.Stream = d.int()
		c.Strip = int(d.int())
		c.Mode = uint32(d.uint())
		c.Owner = d.string()
		c.Group = d.string()
		if c.Keep = d.string(); c.Keep != "" {
			c.Base = d.string()
		}
	}
	return changes, d.end()
}

// AppendDone appends the answer to Apply and Nothing, ParseDone reads it; a refusal is *Error.
func AppendDone(b []byte) []byte { return append(b, 0) }

// ParseDone reads what AppendDone wrote.
func ParseDone(b []byte) error {
	d, err := answer(b)
	if err != nil {
		return err
	}
	return d.end()
}

// AppendRun appends a Run request to b, ParseRun reads it.
func AppendRun(b []byte, c *Command) []byte {
	e := encoder{append(b, byte(Run))}
	e.command(c)
	return e.b
}

func (e *encoder) command(c *Command) {
	e.strings(c.Argv)
	e.string(c.Dir)
	e.strings(c.Env)
	e.bytes(c.Stdin)
	e.flags(c.Streamed, c.Detach)
	e.int(c.Stream)
	e.string(c.Log)
	e.int(int64(c.MaxOutput))
}

// ParseRun reads what AppendRun wrote after the Op byte.
func ParseRun(b []byte) (*Command, error) {
	d := decoder{b: b}
	c := d.command()
	return c, d.end()
}

func (d *decoder) command() *Command {
	c := &Command{Argv: d.strings(), Dir: d.string(), Env: d.strings(), Stdin: d.bytes()}
	d.flags(&c.Streamed, &c.Detach)
	c.Stream = d.int()
	c.Log = d.string()
	c.MaxOutput = int(d.int())
	return c
}

// AppendOutput appends the answer to Run.
func AppendOutput(b []byte, o *Output) []byte {
	e := encoder{append(slices.Grow(b, 64+len(o.Stdout)+len(o.Stderr)), 0)}
	e.int(int64(o.ExitCode))
	e.int(int64(o.PID))
	e.int(o.Started)
	e.int(o.Ended)
	e.flags(o.Truncated)
	e.bytes(o.Stdout)
	e.bytes(o.Stderr)
	return e.b
}

// ParseOutput reads the answer to Run; a refusal is *Error.
func ParseOutput(b []byte) (*Output, error) {
	d, err := answer(b)
	if err != nil {
		return nil, err
	}
	o := &Output{ExitCode: int(d.int()), PID: int(d.int()), Started: d.int(), Ended: d.int()}
	d.flags(&o.Truncated)
	o.Stdout = d.bytes()
	o.Stderr = d.bytes()
	return o, d.end()
}

// AppendError appends a refusal, the answer to any request.
func AppendError(b []byte, refusal *Error) []byte {
	e := encoder{append(b, 1)}
	e.uint(uint64(refusal.Kind))
	e.string(refusal.Op)
	e.string(refusal.Path)
	e.string(refusal.Text)
	return e.b
}

// answer opens an answer; a refusal is its error.
func answer(b []byte) (*decoder, error) {
	d := &decoder{b: b}
	switch d.uint() {
	case 0:
		return d, d.err
	case 1:
		refusal := &Error{Kind: ErrorKind(d.uint()), Op: d.string(), Path: d.string(), Text: d.string()}
		if err := d.end(); err != nil {
			return nil, err
		}
		return nil, refusal
	}
	return nil, ErrMessage
}

// AppendCredit appends the payload of a Credit frame, ParseCredit reads it.
func AppendCredit(b []byte, n int) []byte {
	e := encoder{b}
	e.uint(uint64(n))
	return e.b
}

// ParseCredit reads what AppendCredit wrote.
func ParseCredit(b []byte) (int, error) {
	d := decoder{b: b}
	n := d.uint()
	if n > Window {
		d.fail()
	}
	return int(n), d.end()
}

// AppendFrom appends the payload of a From frame, ParseFrom reads it.
func AppendFrom(b []byte, n int64) []byte {
	e := encoder{b}
	e.uint(uint64(n))
	return e.b
}

// ParseFrom reads what AppendFrom wrote.
func ParseFrom(b []byte) (int64, error) {
	d := decoder{b: b}
	n := d.uint()
	if n > math.MaxInt64 {
		d.fail()
	}
	return int64(n), d.end()
}
