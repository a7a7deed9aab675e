package wire

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"testing"
)

func TestFrames(t *testing.T) {
	big := bytes.Repeat([]byte("x"), 300<<10)
	var stream bytes.Buffer
	for i, payload := range [][]byte{nil, []byte("one"), big} {
		stream.Write(Finish(append(Begin(len(payload)), payload...), Request, uint32(i)))
	}
	for i, want := range [][]byte{nil, []byte("one"), big} {
		f, err := Read(&stream, MaxRequest)
		if err != nil || f.Kind != Request || f.ID != uint32(i) || !bytes.Equal(f.Payload, want) {
			t.Errorf("frame %d: %d bytes, %v", i, len(f.Payload), err)
		}
	}
	if _, err := Read(&stream, MaxRequest); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
	for name, broken := range map[string][]byte{
		"too long":     {0xff, 0xff, 0xff, 0xff, byte(Request), 0, 0, 0, 1},
		"too short":    {0, 0, 0, 4, byte(Request), 0, 0, 0, 1},
		"unknown kind": {0, 0, 0, 5, 99, 0, 0, 0, 1},
		"cut":          {0, 0, 0, 9, byte(Request), 0, 0, 0, 1, 'a'},
	} {
		if f, err := Read(bytes.NewReader(broken), MaxRequest); err == nil || errors.Is(err, io.EOF) && name != "cut" {
			t.Errorf("%s: %+v, %v", name, f, err)
		}
	}
}

// A short answer cannot ask for much memory, nor answer other questions than those asked.
func TestFilesAreBounded(t *testing.T) {
	many := make([]File, MaxEntries+1)
	for name, answer := range map[string][]byte{
		"entries":         AppendFiles(nil, []File{{Kind: Directory, Entries: many}}),
		"files":           AppendFiles(nil, many),
		"too few":         AppendFiles(nil, nil),
		"nested too deep": AppendFiles(nil, []File{{Kind: Directory, Entries: []File{{Kind: Directory, Entries: many[:1]}}}}),
	} {
		if got, err := ParseFiles(answer, 1); err == nil {
			t.Errorf("%s: %d files are taken", name, len(got))
		}
	}
	if got, err := ParseFiles(AppendFiles(nil, []File{{Kind: Directory, Entries: many[1:]}}), 1); err != nil || len(got[0].Entries) != MaxEntries {
		t.Errorf("as many as there may be: %v", err)
	}
}

func TestMessages(t *testing.T) {
	queries := []Query{{Path: "/a", Content: 5, Follow: true, Disk: true}, {Path: "/b\x00\xff", Sum: true, List: true, Content: -1}}
	if got, err := ParseLook(AppendLook(nil, queries)[1:]); err != nil || !reflect.DeepEqual(got, queries) {
		t.Errorf("look: %+v, %v", got, err)
	}
	files := []File{{Path: "/missing"}, {Path: "/free", DiskFree: 1, DiskTotal: 2, Device: 3},
		{Path: "/d", Kind: Directory, Mode: 0o755, UID: -1, GID: 7, Owner: "o", Group: "g", Modified: -5, Entries: []File{{Path: "/d/l", Kind: Symlink, Target: "t"}}},
		{Path: "/f", Kind: Regular, Size: 1 << 40, Sum: "s", Content: []byte("c"), Truncated: true}}
	if got, err := ParseFiles(AppendFiles(nil, files), len(files)); err != nil || !reflect.DeepEqual(got, files) {
		t.Errorf("files: %+v, %v", got, err)
	}
	changes := []Change{{Kind: WriteFile, Path: "/a", Content: []byte("c"), Sum: "s", Within: "/w", HasMode: true, Mode: 0o4755, Owner: "o", Group: "g", Backup: true},
		{Kind: Unpack, Path: "/b", Target: "/t", Strip: 2, Streamed: true, Stream: 1 << 40, Recursive: true}}
	if got, err := ParseApply(AppendApply(nil, changes)[1:]); err != nil || !reflect.DeepEqual(got, changes) {
		t.Errorf("apply: %+v, %v", got, err)
	}
	command := &Command{Argv: []string{"a", "", "b c"}, Dir: "/", Env: []string{"A=b"}, Stdin: []byte("in"), Stream: 9, Log: "/l", MaxOutput: 5, Streamed: true, Detach: true}
	if got, err := ParseRun(AppendRun(nil, command)[1:]); err != nil || !reflect.DeepEqual(got, command) {
		t.Errorf("run: %+v, %v", got, err)
	}
	output := &Output{ExitCode: -9, PID: 5, Started: 1, Ended: 2, Truncated: true, Stdout: []byte("o"), Stderr: []byte("e")}
	if got, err := ParseOutput(AppendOutput(nil, output)); err != nil || !reflect.DeepEqual(got, output) {
		t.Errorf("output: %+v, %v", got, err)
	}
	refusal := &Error{Kind: NoSpace, Op: "write", Path: "/a", Text: "full"}
	var got *Error
	if err := ParseDone(AppendError(nil, refusal)); !errors.As(err, &got) || !reflect.DeepEqual(got, refusal) {
		t.Errorf("refusal: %v", err)
	}
	if err := ParseDone(AppendDone(nil)); err != nil {
		t.Error(err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(Finish(append(Begin(0), "hello"...), Request, 1))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, stream []byte) {
		r := bytes.NewReader(stream)
		for {
			left := r.Len()
			frame, err := Read(r, 1<<20)
			if err != nil {
				return
			}
			if used := left - r.Len(); used != HeaderLen+len(frame.Payload) {
				t.Fatalf("a frame of %d bytes used up %d", HeaderLen+len(frame.Payload), used)
			}
		}
	})
}

// What parses must mean the same when it is written and parsed again.
func FuzzParse(f *testing.F) {
	f.Add(AppendLook(nil, []Query{{Path: "/a", Sum: true}})[1:])
	f.Add(AppendFiles(nil, []File{{Path: "/a", Kind: Directory, Entries: []File{{Path: "/a/b"}}}}))
	f.Add(AppendApply(nil, []Change{{Kind: WriteFile, Path: "/a"}})[1:])
	f.Add(AppendRun(nil, &Command{Argv: []string{"a"}})[1:])
	f.Add(AppendOutput(nil, &Output{Stdout: []byte("a")}))
	f.Add(AppendError(nil, &Error{Text: "a"}))
	f.Add(AppendRun(AppendFenced(nil, &Fencing{Fences: []Fence{{Key: "a", Token: 1, Holder: "b"}}, Base: "/", UID: -1}), &Command{Argv: []string{"a"}})[1:])
	f.Add(AppendHold(nil, &HoldRequest{Act: TakeHold, Path: "/a"})[1:])
	f.Add(AppendHoldState(nil, &HoldState{Ours: true, Token: 1}))
	f.Fuzz(func(t *testing.T, message []byte) {
		if queries, err := ParseLook(message); err == nil {
			again, err := ParseLook(AppendLook(nil, queries)[1:])
			if err != nil || !reflect.DeepEqual(again, queries) {
				t.Errorf("look: %+v, %+v, %v", queries, again, err)
			}
		}
		if changes, err := ParseApply(message); err == nil {
			again, err := ParseApply(AppendApply(nil, changes)[1:])
			if err != nil || !reflect.DeepEqual(again, changes) {
				t.Errorf("apply: %+v, %+v, %v", changes, again, err)
			}
		}
		if command, err := ParseRun(message); err == nil {
			again, err := ParseRun(AppendRun(nil, command)[1:])
			if err != nil || !reflect.DeepEqual(again, command) {
				t.Errorf("run: %+v, %+v, %v", command, again, err)
			}
		}
		if output, err := ParseOutput(message); err == nil {
			again, err := ParseOutput(AppendOutput(nil, output))
			if err != nil || !reflect.DeepEqual(again, output) {
				t.Errorf("output: %+v, %+v, %v", output, again, err)
			}
		}
		if fencing, inner, err := ParseFenced(message); err == nil {
			again, rest, err := ParseFenced(append(AppendFenced(nil, fencing)[1:], inner...))
			if err != nil || !reflect.DeepEqual(again, fencing) || !bytes.Equal(rest, inner) {
				t.Errorf("fence: %+v, %+v, %v", fencing, again, err)
			}
		}
		if request, err := ParseHold(message); err == nil {
			again, err := ParseHold(AppendHold(nil, request)[1:])
			if err != nil || !reflect.DeepEqual(again, request) {
				t.Errorf("hold: %+v, %+v, %v", request, again, err)
			}
		}
		if state, err := ParseHoldState(message); err == nil {
			again, err := ParseHoldState(AppendHoldState(nil, state))
			if err != nil || !reflect.DeepEqual(again, state) {
				t.Errorf("hold state: %+v, %+v, %v", state, again, err)
			}
		}
		_, _ = ParseFolder(message)
		_, _ = ParseFiles(message, 1)
		_, _ = ParseCredit(message)
		_ = ParseDone(message)
	})
}
