package helper

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pegbook/pegbook/runner/connect/helper/wire"
)

func TestEnds(t *testing.T) {
	for limit := 1; limit < 12; limit++ {
		for size := range 40 {
			for step := 1; step < 15; step++ {
				whole := []byte("0123456789abcdefghijklmnopqrstuvwxyzABCD")[:size]
				e := ends{limit: limit}
				for rest := whole; len(rest) > 0; {
					n := min(step, len(rest))
					e.write(rest[:n])
					rest = rest[n:]
				}
				want := whole
				if size > limit {
					want = append(bytes.Clone(whole[:limit-limit/2]), whole[size-limit/2:]...)
				}
				if got := e.bytes(); !bytes.Equal(got, want) || e.truncated() != (size > limit) {
					t.Fatalf("limit %d, %d bytes by %d: %q, want %q", limit, size, step, got, want)
				}
			}
		}
	}
}

// Whatever comes in, the helper neither panics nor hangs nor takes more memory than its bounds.
func FuzzServe(f *testing.F) {
	request := func(id uint32, message []byte) []byte { return wire.Finish(message, wire.Request, id) }
	dir := f.TempDir()
	f.Add(bytes.Join([][]byte{
		request(1, wire.AppendLook(wire.Begin(0), []wire.Query{{Path: dir, List: true, Disk: true}, {Path: "/etc/passwd", Sum: true, Content: 10}})),
		request(2, append(wire.Begin(0), byte(wire.Nothing))),
		wire.Finish(wire.Begin(0), wire.Cancel, 1), wire.Finish(wire.Begin(0), wire.Ping, 0),
	}, nil))
	f.Add(bytes.Join([][]byte{
		request(3, wire.AppendLook(wire.Begin(0), []wire.Query{{Path: "relative"}})),
		wire.Finish(append(wire.Begin(0), "data"...), wire.Data, 3),
	}, nil))
	f.Fuzz(func(t *testing.T, in []byte) {
		// A fuzzer that finds out how to write files and run programs would do so.
		for i := range in {
			if i >= wire.HeaderLen && (in[i] == byte(wire.Apply) || in[i] == byte(wire.Run)) && in[i-5] == byte(wire.Request) {
				t.Skip()
			}
		}
		done := make(chan error, 1)
		go func() { done <- Serve(t.Context(), bytes.NewReader(in), io.Discard, 0) }()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Fatal("it hangs")
		}
	})
}

func TestSilence(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	began := time.Now()
	if err := Serve(t.Context(), r, io.Discard, time.Second); err == nil || !strings.Contains(err.Error(), "silent") {
		t.Errorf("nobody speaks: %v", err)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("noticed after %s", took)
	}
}

func TestParseStat(t *testing.T) {
	for stat, want := range map[string]int{
		"12 (a) S 1 2 34 0 -1":             34,
		"12 (a) Z 1 2 34 0 -1":             0,
		"12 (evil) S 9 9 9) S 1 2 34 0 -1": 34,
		"":                                 0,
		"12 (a) S 1":                       0,
	} {
		session, alive := parseStat([]byte(stat))
		if !alive {
			session = 0
		}
		if session != want {
			t.Errorf("%q: session %d, want %d", stat, session, want)
		}
	}
}

// A request whose data comes faster than it was granted breaks the connection, not the memory.
func TestWindow(t *testing.T) {
	b := newBody(func(int) {}, nil)
	var err error
	for range wire.Window/wire.ChunkLen + 1 {
		err = b.add(make([]byte, wire.ChunkLen))
	}
	if err == nil {
		t.Error("more than the window is taken")
	}
	granted := 0
	b = newBody(func(n int) { granted += n }, nil)
	go func() {
		for range 3 * wire.Window / wire.ChunkLen {
			for b.add(make([]byte, wire.ChunkLen)) != nil {
				time.Sleep(time.Millisecond)
			}
		}
	}()
	n, err := io.Copy(io.Discard, b.reader(3*wire.Window))
	if err != nil || n != 3*wire.Window || granted < 2*wire.Window {
		t.Errorf("%d bytes came, %d were granted: %v", n, granted, err)
	}
}

func TestLookPath(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/tool", []byte("#!"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, path, want string }{
		{"tool", "/nowhere:" + dir, dir + "/tool"},
		{"tool", ".:", ""},
		{"./tool", "", dir + "/tool"},
		{"/bin/sh", "", "/bin/sh"},
	} {
		got, err := lookPath(c.name, []string{"PATH=" + c.path}, dir)
		if got != c.want || (c.want == "") != (err != nil) {
			t.Errorf("%s in %s: %q, %v", c.name, c.path, got, err)
		}
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("PEGBOOK_A", "old")
	env := fmt.Sprint(environment([]string{"PEGBOOK_A=new"}, "/d"))
	if strings.Contains(env, "PEGBOOK_A=old") || !strings.Contains(env, "PEGBOOK_A=new") || !strings.Contains(env, "PWD=/d") {
		t.Errorf("got %s", env)
	}
}
