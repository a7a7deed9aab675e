package connect

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/connect/helper/wire"
)

// BenchmarkHost measures single requests on a warm connection to a real sshd.
func BenchmarkHost(b *testing.B) {
	s := startSSHD(b, loopback+".2", 22222, "")
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

// BenchmarkUpload sends 64 MiB, beside what scp's way, cat at the other end of an ssh client, takes.
func BenchmarkUpload(b *testing.B) {
	const size = 64 << 20
	s := startSSHD(b, loopback+".4", 22224, "")
	h := (&subject{pool: newPool(b, Options{}), address: s.address}).open(b)
	dir := b.TempDir()
	local := filepath.Join(dir, "local")
	content, _ := pattern(size).Open()
	all, err := io.ReadAll(content)
	if err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(local, all, 0o644); err != nil {
		b.Fatal(err)
	}
	b.Run("pegbook", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			source, err := modules.LocalFile(local)
			if err != nil {
				b.Fatal(err)
			}
			remote := filepath.Join(dir, "remote")
			apply(b, h, modules.Change{Kind: modules.WriteFile, Path: remote, Content: source}, modules.Change{Kind: modules.Remove, Path: remote})
		}
	})
	b.Run("ssh cat", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			in, err := os.Open(local)
			if err != nil {
				b.Fatal(err)
			}
			cmd := exec.Command("ssh", "-F", "none", "-p", "22224", "-i", s.address.KeyFiles[0], "-o", "UserKnownHostsFile="+s.address.KnownHosts[0],
				"root@"+loopback+".4", "cat >"+filepath.Join(dir, "remote"))
			cmd.Stdin = in
			if out, err := cmd.CombinedOutput(); err != nil {
				b.Fatalf("%s", out)
			}
			in.Close()
		}
	})
}

// BenchmarkOpen connects to ten hosts at once: with the helper there, and without.
func BenchmarkOpen(b *testing.B) {
	s := startSSHD(b, "0.0.0.0", 22225, "MaxStartups 100")
	dir := b.TempDir()
	open := func(b *testing.B, cache func(int) string) {
		p := NewPool(Options{})
		defer p.Close()
		var all sync.WaitGroup
		for i := range 10 {
			all.Add(1)
			go func() {
				defer all.Done()
				a := s.address
				a.Host = fmt.Sprintf(loopback+".%d", 100+i)
				a.Name, a.AcceptNewHostKeys, a.TempDir = a.Host, true, cache(i)
				if _, err := p.Open(b.Context(), a, Become{}); err != nil {
					b.Error(err)
				}
			}()
		}
		all.Wait()
	}
	n := 0
	b.Run("warm", func(b *testing.B) {
		for b.Loop() {
			open(b, func(int) string { return s.address.TempDir })
		}
	})
	b.Run("cold", func(b *testing.B) {
		for b.Loop() {
			n++
			open(b, func(i int) string {
				cache := filepath.Join(dir, fmt.Sprintf("%d-%d", n, i))
				if err := os.Mkdir(cache, 0o755); err != nil {
					b.Error(err)
				}
				return cache
			})
		}
	})
}
