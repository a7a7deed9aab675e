package wire

import "slices"

// What a host keeps of a step is written down in a file that is called like the step, with KeptSuffix behind it; with
// LostSuffix where it could not all be written.
const (
	KeptSuffix = ".kept"
	LostSuffix = ".lost"
)

// Kept is what a host has written down about one path that a change was made to: how the path was before, or, with
// After, how the change has left it. A file of them is read to its last whole one.
type Kept struct {
	After bool
	// Opens says that the change was about more than attributes: what was there is gone.
	Opens bool
	// Beside says that the path is where the new content is made, beside the path that the next line is about, which it
	// then takes the place of. Nothing was there before.
	Beside bool
	// Time is when, in nanoseconds since 1970 by the host's clock.
	Time int64
	// Path has no links on the way to it.
	Path  string
	State State
	// Copy is the name, in the folder of the run, under which a file or folder is kept that was there; "" where there
	// was none, or Lost says why it could not be kept.
	Copy, Lost string
}

// State is a path's state as far as it is compared. Modified is in nanoseconds since 1970.
type State struct {
	Kind           FileKind
	Mode           uint32
	UID, GID       int
	Size, Modified int64
	Target         string
}

// AppendKept appends what is written down, with its length before it.
func AppendKept(b []byte, k *Kept) []byte {
	var e encoder
	e.flags(k.After, k.Opens, k.Beside)
	e.int(k.Time)
	e.string(k.Path)
	e.uint(uint64(k.State.Kind))
	e.uint(uint64(k.State.Mode))
	e.int(int64(k.State.UID))
	e.int(int64(k.State.GID))
	e.int(k.State.Size)
	e.int(k.State.Modified)
	e.string(k.State.Target)
	e.string(k.Copy)
	e.string(k.Lost)
	out := encoder{b}
	out.bytes(e.b)
	return out.b
}

// ParseKept reads a file of what AppendKept wrote. A last one that was not written whole is left out: the change that
// it is about was not made, since it is written first. Lines with Beside are left out where the change came to its end:
// what is left is there because the host or the helper was killed.
func ParseKept(b []byte) ([]Kept, error) {
	var all []Kept
	beside := -1 // of the change that has not come to its end
	for d := (decoder{b: b}); len(d.b) > 0; {
		one := d.bytes()
		if d.err != nil {
			return all, nil
		}
		in := decoder{b: one}
		var k Kept
		in.flags(&k.After, &k.Opens, &k.Beside)
		k.Time = in.int()
		k.Path = in.string()
		k.State = State{Kind: FileKind(in.uint()), Mode: uint32(in.uint()), UID: int(in.int()), GID: int(in.int()),
			Size: in.int(), Modified: in.int(), Target: in.string()}
		k.Copy = in.string()
		k.Lost = in.string()
		if err := in.end(); err != nil {
			return all, err
		}
		switch {
		case k.Beside:
			beside = len(all)
		case k.After && beside >= 0:
			all = slices.Delete(all, beside, beside+1)
			beside = -1
		}
		all = append(all, k)
	}
	return all, nil
}

// AppendKeptFolder appends a request for the folder in which the host keeps what was there before changes; base is
// that of Change.Keep. The answer is a Folder.
func AppendKeptFolder(b []byte, base string) []byte {
	e := encoder{append(b, byte(KeptFolder))}
	e.string(base)
	return e.b
}

// ParseKeptFolder reads what AppendKeptFolder wrote after the Op byte.
func ParseKeptFolder(b []byte) (string, error) {
	d := decoder{b: b}
	base := d.string()
	return base, d.end()
}
