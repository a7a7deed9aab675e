package connect

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/connect/helper/wire"
)

// BenchmarkHost measures single requests on a warm connection to a real sshd.
func BenchmarkHost(b *testing.B) {
	s := startSSHD(b, "127.0.20.2", 22222, "")
	p := NewPool(Options{})
	defer p.Close()
	opened, err := p.Open(b.Context(), s.address, Become{})
	if err != nil {
		b.Fatal(err)
	}
	h := opened.(*host)
	dir := b.TempDir()
	path := filepath.Join(dir, "f")
	if err := os.WriteFile(path, make([]byte, 1024), 0o644); err != nil {
		b.Fatal(err)
	}
	content := modules.Bytes("content", make([]byte, 1024))
	for _, bench := range []struct {
		name string
		f    func() error
	}{
		{"ping", func() error {
			_, err := h.mux.call(b.Context(), append(wire.Begin(1), byte(wire.Nothing)), nil, room)
			return err
		}},
		{"stat", func() error {
			_, err := h.Look(b.Context(), modules.Query{Path: dir})
			return err
		}},
		{"stat and sum", func() error {
			_, err := h.Look(b.Context(), modules.Query{Path: path, Sum: true})
			return err
		}},
		{"run", func() error {
			_, err := h.Run(b.Context(), modules.Command{Argv: []string{"/bin/true"}})
			return err
		}},
		{"write new", func() error {
			return h.Apply(b.Context(), modules.Change{Kind: modules.Remove, Path: path}, modules.Change{Kind: modules.WriteFile, Path: path, Content: content})
		}},
		{"write over", func() error {
			return h.Apply(b.Context(), modules.Change{Kind: modules.WriteFile, Path: path, Content: content})
		}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			for b.Loop() {
				if err := bench.f(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
