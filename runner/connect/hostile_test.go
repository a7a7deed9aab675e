package connect

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/connect/helper/wire"
)

// hostile is a host whose helper answers what it likes. answer gives the frames to a frame.
func hostile(t *testing.T, answer func(f wire.Frame) [][]byte) *host {
	t.Helper()
	ours, theirs := net.Pipe()
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	go func() {
		for {
			f, err := wire.Read(theirs, wire.MaxRequest)
			if err != nil {
				return
			}
			for _, frame := range answer(f) {
				if _, err := theirs.Write(frame); err != nil {
					return
				}
			}
		}
	}()
	return &host{name: "evil", mux: newMux(bufio.NewReader(ours), ours, &atomic.Int64{}, func() { ours.Close() })}
}

func done(id uint32, message []byte) []byte { return wire.Finish(message, wire.Done, id) }

// What a host answers is checked before it is used: its paths lead to more questions and to changes.
func TestHostileFiles(t *testing.T) {
	entry := func(path string) []wire.File {
		return []wire.File{{Path: "/d", Kind: wire.Directory, Entries: []wire.File{{Path: path, Kind: wire.Regular}}}}
	}
	for name, files := range map[string][]wire.File{
		"another path":        {{Path: "/etc", Kind: wire.Directory}},
		"an entry elsewhere":  entry("/etc/passwd"),
		"an entry above":      entry("/d/.."),
		"an entry far below":  entry("/d/a/b"),
		"the directory":       entry("/d/"),
		"content not wanted":  {{Path: "/d", Kind: wire.Regular, Content: []byte("longer")}},
		"more files":          {{Path: "/d"}, {Path: "/d"}},
		"none":                {},
		"endless subfolders":  {{Path: "/d", Kind: wire.Directory, Entries: []wire.File{{Path: "/d/e", Kind: wire.Directory, Entries: entry("/x")}}}},
		"nothing but entries": {{Path: "/d", Kind: wire.Directory, Entries: make([]wire.File, 5000)}},
	} {
		h := hostile(t, func(f wire.Frame) [][]byte { return [][]byte{done(f.ID, wire.AppendFiles(wire.Begin(0), files))} })
		found, err := h.Look(t.Context(), modules.Query{Path: "/d", List: true, Content: 3})
		var gone *modules.UnreachableError
		if !errors.As(err, &gone) {
			t.Errorf("%s: %+v, %v", name, found, err)
		}
	}
	h := hostile(t, func(f wire.Frame) [][]byte {
		return [][]byte{done(f.ID, wire.AppendFiles(wire.Begin(0), entry("/d/...")))}
	})
	if _, err := h.Look(t.Context(), modules.Query{Path: "/d/../d/", List: true}); err == nil {
		t.Error("an answer to the question, and to another spelling of it, are alike")
	}
	if found, err := h.Look(t.Context(), modules.Query{Path: "/d", List: true}); err != nil || found[0].Entries[0].Path != "/d/..." {
		t.Errorf("an odd name: %+v, %v", found, err)
	}
}

// Answers have bounds, whatever the host sends.
func TestHostileLength(t *testing.T) {
	var sent atomic.Int64
	h := hostile(t, func(f wire.Frame) [][]byte {
		var parts [][]byte
		for range 20 {
			parts = append(parts, wire.Finish(append(wire.Begin(0), make([]byte, wire.MaxPart)...), wire.Part, f.ID))
		}
		sent.Add(1)
		return parts
	})
	_, err := h.Run(t.Context(), modules.Command{Argv: []string{"true"}, MaxOutput: 100})
	if !errors.Is(err, errAnswer) {
		t.Errorf("5 MiB of output where 100 bytes were asked for: %v", err)
	}
}

// Records of what a host has kept are asked for in bounds, whatever sizes it says they have.
func TestHostileRecords(t *testing.T) {
	var all, most atomic.Int64
	h := hostile(t, func(f wire.Frame) [][]byte {
		if wire.Op(f.Payload[0]) == wire.KeptFolder {
			return [][]byte{done(f.ID, wire.AppendFolder(wire.Begin(0), &wire.Folder{Path: "/kept"}))}
		}
		queries, err := wire.ParseLook(f.Payload[1:])
		if err != nil {
			t.Error(err)
		}
		var files []wire.File
		asked := int64(0)
		for _, q := range queries {
			asked += q.Content
			one := wire.File{Path: q.Path, Kind: wire.Regular, Size: 1 << 40, Truncated: true}
			if q.List {
				one = wire.File{Path: q.Path, Kind: wire.Directory}
				for i := range 500 {
					one.Entries = append(one.Entries, wire.File{Path: fmt.Sprintf("%s/%d%s", q.Path, i, wire.KeptSuffix), Kind: wire.Regular, Size: 1 << 40})
				}
			}
			files = append(files, one)
		}
		all.Add(asked)
		most.Store(max(most.Load(), asked))
		return [][]byte{done(f.ID, wire.AppendFiles(wire.Begin(0), files))}
	})
	kept, err := h.Kept(t.Context(), "run")
	if err != nil || len(kept.Damaged) != 500 {
		t.Errorf("%v, %v", kept, err)
	}
	if all.Load() > maxKeptAll || most.Load() > keptAtOnce+maxKept {
		t.Errorf("%d bytes were asked for, %d at once", all.Load(), most.Load())
	}
}

// A host that never has enough of an upload is given it twice.
func TestHostileResume(t *testing.T) {
	for name, from := range map[string]int64{"again and again": 0, "beyond the end": 1 << 40} {
		t.Run(name, func(t *testing.T) {
			var got atomic.Int64
			h := hostile(t, func(f wire.Frame) [][]byte {
				want := wire.Finish(wire.AppendFrom(wire.Begin(0), from), wire.From, f.ID)
				switch f.Kind {
				case wire.Request:
					return [][]byte{want}
				case wire.Data:
					n := got.Add(int64(len(f.Payload)))
					answer := [][]byte{wire.Finish(wire.AppendCredit(wire.Begin(0), len(f.Payload)), wire.Credit, f.ID)}
					if n%(9<<20) == 0 {
						answer = append(answer, want)
					}
					return answer
				}
				return nil
			})
			err := h.Apply(t.Context(), modules.Change{Kind: modules.WriteFile, Path: "/f", Content: summed{9 << 20}})
			var gone *modules.UnreachableError
			if !errors.As(err, &gone) || got.Load() > 3*9<<20 {
				t.Errorf("after %d bytes: %v", got.Load(), err)
			}
		})
	}
}

// Once the script runs it runs as the user that was become, who may be less trusted than the one whose
// password it is: nobody is told any more.
func TestHostilePrompt(t *testing.T) {
	list, err := (&binaries{files: embedded}).all()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "caught")
	start := func(script string) error {
		s := &starter{name: "h", binaries: &binaries{files: embedded}, every: time.Second, trips: &atomic.Int64{}}
		m, err := s.start(t.Context(), func(ctx context.Context, line string) (stream, error) {
			mark := regexp.MustCompile(`pegbook/[0-9a-f]{16}:`).FindString(line)
			return localOpen(ctx, fmt.Sprintf("m=%s; n=%d; f=%s; ", mark, list["amd64"].length, quote(file))+script)
		}, Become{User: "app", Password: "secret"})
		if err == nil {
			m.fail(errClosed)
		}
		return err
	}
	ask := `printf %s "${m}password" >&2; timeout 1 head -n 1 >"$f"; echo "${m}hello ` + wire.Fingerprint() + `"; cat >/dev/null`
	if err := start(ask); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(file); string(got) != "secret\n" {
		t.Errorf("before the script speaks it is sudo that asks, and gets %q: %v", got, err)
	}
	if err := start(`echo "${m}need gzip x86_64"; head -c $n >/dev/null; ` + ask); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(file); len(got) > 0 {
		t.Errorf("whoever asked later got %q: %v", got, err)
	}
	err = start(`while :; do echo "${m}need gzip x86_64"; head -c $n >/dev/null; done`)
	if err == nil {
		t.Fatal("the helper was sent for ever")
	}
	wantText(t, err, "need")
}
