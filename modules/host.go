package modules

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// Host is a managed host as a module sees it. Every path is absolute. Methods are safe for use by
// several goroutines. Each call of Look, Apply and Run costs one round trip.
//
// Errors: a file that is not there is fs.ErrNotExist inside a *FileError; a command that ends with
// another code than 0 is *ExitError; a host that cannot be reached, or no longer, is
// *UnreachableError; what check mode cannot know is ErrUnpredicted.
type Host interface {
	// Name is the host's name in the inventory.
	Name() string
	// Look reads several files' state at once. The answer has one entry a query, in order. A file that
	// is not there is an entry with Kind Missing and no error.
	Look(ctx context.Context, queries ...Query) ([]File, error)
	// Apply makes changes in order and stops at the first that fails. Each change is atomic by itself:
	// nobody sees half a file.
	Apply(ctx context.Context, changes ...Change) error
	// Run runs a command to its end. Cancelling ctx ends the command with all its children.
	Run(ctx context.Context, cmd Command) (Output, error)
	// Dial connects to an address as seen from the host. network is "tcp".
	Dial(ctx context.Context, network, addr string) (net.Conn, error)
	// Predicted answers what an earlier task of this check-mode run would have left under a key of
	// Proposal.Predicts. It is false in a real run, always.
	Predicted(key string) (string, bool)
}

// FileKind is what a path is.
type FileKind string

// Kinds of file. The zero value is none of them.
const (
	Missing   FileKind = "missing"
	Regular   FileKind = "file"
	Directory FileKind = "directory"
	Symlink   FileKind = "link"
	Other     FileKind = "other"
)

// Query asks for the state of one path.
type Query struct {
	Path string
	// Follow looks at what a symbolic link points to instead of at the link.
	Follow bool
	// Sum asks for the SHA-256 of a regular file.
	Sum bool
	// Content asks for a regular file's content when it has at most this many bytes; a longer file's
	// is left out and its Truncated is set. 0 asks for none.
	Content int64
	// List asks for a directory's entries, sorted by name, without their sums and content.
	List bool
	// Disk asks for the size and free space of the file system that holds the path, or its nearest
	// existing parent.
	Disk bool
}

// File is the state of one path.
type File struct {
	Path string   `json:"path"`
	Kind FileKind `json:"kind"`
	// Mode is the permission bits, including setuid, setgid and sticky as in chmod(2) (0o7777).
	Mode uint32 `json:"mode"`
	// Size in bytes; of a directory 0.
	Size  int64  `json:"size"`
	UID   int    `json:"uid"`
	GID   int    `json:"gid"`
	Owner string `json:"owner,omitempty"` // name, empty where the host has none for UID
	Group string `json:"group,omitempty"`
	// Modified is the time of the last change of the content.
	Modified time.Time `json:"modified"`
	// Target is what a symbolic link holds; empty where the host does not let the user know (/proc/1/exe).
	Target string `json:"target,omitempty"`
	// Sum is the content's SHA-256 in lower-case hexadecimal, when asked for.
	Sum string `json:"sum,omitempty"`
	// Content is the file's content, when asked for and short enough.
	Content   []byte `json:"content,omitempty"`
	Truncated bool   `json:"truncated,omitempty"`
	// Entries are a directory's children, when asked for. Their Path is absolute.
	Entries []File `json:"entries,omitempty"`
	// DiskTotal and DiskFree are bytes, when asked for; free to an ordinary user. Device tells file
	// systems apart.
	DiskTotal int64  `json:"disk_total,omitempty"`
	DiskFree  int64  `json:"disk_free,omitempty"`
	Device    uint64 `json:"device,omitempty"`
}

// ChangeKind is what a [Change] does.
type ChangeKind string

// Kinds of change.
const (
	// WriteFile writes Content to Path through a temporary file beside it and a rename. Attributes not
	// given are kept from the file that was there; else 0644 less the umask and the user's own.
	// Content of more than 32 KiB is checked against its SHA-256 on the host. Of one of more than 8 MiB
	// that broke off, what had come stays beside Path, for a day, and the next WriteFile of the same
	// content to the same Path sends the rest.
	WriteFile ChangeKind = "write"
	// MakeDirectory makes Path and missing parents (0755); attributes apply to Path. A directory that
	// is there only gets the attributes.
	MakeDirectory ChangeKind = "mkdir"
	// MakeLink makes Path a symbolic link to Target, replacing a link or file in one step.
	MakeLink ChangeKind = "link"
	// SetAttributes changes mode and owner of Path, or of what Path points to where it is a link; with
	// Recursive of everything below as well. There links are not followed: they get the owner, and
	// nothing outside the directory is touched. Mode applies to files and directories alike.
	SetAttributes ChangeKind = "attributes"
	// Remove removes Path and, if a directory, everything below. Nothing there is no error.
	Remove ChangeKind = "remove"
	// Rename moves Path to Target on one file system, replacing a file that is there.
	Rename ChangeKind = "rename"
	// Unpack extracts the archive Path (tar, tar.gz, tgz, zip; told by its content) into the directory
	// Target, which must exist. Strip leading path elements are dropped. An entry that would land
	// outside Target is an error before anything is written.
	Unpack ChangeKind = "unpack"
	// Touch makes an empty file, or sets the modification time of the one there to now.
	Touch ChangeKind = "touch"
	// CopyFile copies the regular file Path of the same host to Target, as WriteFile would write it.
	CopyFile ChangeKind = "copy"
	// RemoveDirectory removes the directory Path if it is empty, and else fails. Nothing there is no error.
	RemoveDirectory ChangeKind = "rmdir"
)

// Change is one change of the host's files.
type Change struct {
	Kind ChangeKind
	Path string
	// Target is what a link points to, where a rename or copy goes, where an archive is extracted.
	Target string
	// Content is what WriteFile writes; of any size, it is streamed.
	Content Source
	// Backup keeps a regular file that is replaced as Path.TIMESTAMP~ beside it.
	Backup bool
	// Strip is how many leading path elements Unpack drops.
	Strip int
	// Recursive is for SetAttributes.
	Recursive bool
	// Within is for SetAttributes of something that was found in a directory: no link leads the change out
	// of it, whatever those who can write there have put into its place since.
	Within string
	// Keep is set by the runner and by no module: the name under which the host keeps what is there before.
	Keep string
	Attributes
}

// Attributes are a file's mode and owner. The zero value leaves everything as it is.
type Attributes struct {
	// Mode is the permission bits to set; nil leaves them. See [ParseMode] for what users write.
	Mode *uint32
	// Owner and Group are names or decimal ids; empty leaves them.
	Owner, Group string
}

// Command is a command to run on a host.
type Command struct {
	// Argv is the program and its arguments; nothing is parsed by a shell.
	Argv []string
	// Dir is the working directory; empty is the user's home.
	Dir string
	// Env is added to the user's environment. Values do not appear in any process list.
	Env map[string]string
	// Stdin is given to the command; nil is an empty input.
	Stdin []byte
	// ReadOnly promises that the command changes nothing. Check mode then runs it.
	ReadOnly bool
	// Detach starts the command in a session of its own and returns at once with its process id in
	// Output.PID; it outlives the connection. Its output goes to the file Log (appended; empty: lost).
	Detach bool
	Log    string
	// Bare hands Argv, one command line, to the login shell of the user and needs nothing of pegbook's on
	// the host. Dir, Env, Stdin and Detach are not for it.
	Bare bool
	// MaxOutput bounds what is kept of each of stdout and stderr, in bytes; 0 means 1 MiB. Of a longer
	// output the first and the last half are kept and Output.Truncated is set.
	MaxOutput int
}

// Output is what a command left.
type Output struct {
	ExitCode  int
	Stdout    []byte
	Stderr    []byte
	Truncated bool
	// PID is the process id of a detached command, else 0.
	PID int
	// Started and Ended are by the host's clock.
	Started, Ended time.Time
}

// ErrUnpredicted is what an overlay answers in check mode to something whose outcome it cannot know,
// such as running a command. The task's status is then unknown.
var ErrUnpredicted = errors.New("cannot be known without running it")

// ExitError is a command that ran and ended with another code than 0.
type ExitError struct {
	Argv []string
	Output
}

// Error is one short line; the whole output stays in the fields.
func (e *ExitError) Error() string {
	name := "command"
	if len(e.Argv) > 0 {
		name = e.Argv[0]
	}
	last := strings.TrimSpace(string(e.Stderr))
	if last == "" {
		last = strings.TrimSpace(string(e.Stdout))
	}
	if i := strings.LastIndexByte(last, '\n'); i >= 0 {
		last = last[i+1:]
	}
	if len(last) > 200 {
		last = last[:200] + "…"
	}
	if last == "" {
		return fmt.Sprintf("%s ended with code %d", name, e.ExitCode)
	}
	return fmt.Sprintf("%s ended with code %d: %s", name, e.ExitCode, last)
}

// UnreachableError is a host that cannot be reached or whose connection broke.
type UnreachableError struct {
	Host string
	// Hint says what to do about it, where that is known.
	Hint string
	Err  error
}

// Error names the host and the cause, with the hint behind it.
func (e *UnreachableError) Error() string {
	if e.Hint == "" {
		return fmt.Sprintf("%s cannot be reached: %v", e.Host, e.Err)
	}
	return fmt.Sprintf("%s cannot be reached: %v; %s", e.Host, e.Err, e.Hint)
}

// Unwrap gives the cause.
func (e *UnreachableError) Unwrap() error { return e.Err }

// FileError is a file operation that the host refused.
type FileError struct {
	Op, Path string
	// Kind is fs.ErrNotExist, fs.ErrExist, fs.ErrPermission, ErrNoSpace, or nil for anything else.
	Kind error
	// Text is the host's own words, such as "no space left on device".
	Text string
}

// Error is the operation, the path and the host's own words.
func (e *FileError) Error() string { return fmt.Sprintf("%s %s: %s", e.Op, e.Path, e.Text) }

// Unwrap gives the kind, for errors.Is.
func (e *FileError) Unwrap() error { return e.Kind }

// ErrNoSpace is a file system without room for a write.
var ErrNoSpace = errors.New("no space left on the file system")

var (
	_ error = (*ExitError)(nil)
	_ error = (*UnreachableError)(nil)
	_ error = (*FileError)(nil)
)
