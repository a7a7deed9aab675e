// Command build compiles the helper for every kind of host and leaves it, compressed, where package
// connect embeds it: build DIRECTORY. It is what go generate runs. The same source gives the same bytes,
// so that hosts keep the helper they have.
package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// maxSize is how large a compressed helper may be: it is sent to every new host.
const maxSize = 1500 << 10

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: build DIRECTORY")
		os.Exit(1)
	}
	for _, arch := range []string{"amd64", "arm64"} {
		if err := build(arch, os.Args[1]); err != nil {
			fmt.Fprintf(os.Stderr, "build the helper for linux/%s: %v\n", arch, err)
			os.Exit(1)
		}
	}
}

func build(arch, dir string) error {
	work, err := os.MkdirTemp("", "pegbook-helper-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	program := filepath.Join(work, "helper")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid=", "-o", program,
		"github.com/pegbook/pegbook/runner/connect/helper/cmd")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	raw, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	packed, err := pack(raw)
	if err != nil {
		return err
	}
	if len(packed) > maxSize {
		return fmt.Errorf("%d bytes compressed are more than the %d that a helper may have", len(packed), maxSize)
	}
	sum := sha256.Sum256(raw)
	// A line with sums and size stands before the archive: one file cannot get out of step with itself.
	note := fmt.Sprintf("%s %d %d\n", hex.EncodeToString(sum[:]), cksum(raw), len(raw))
	return write(filepath.Join(dir, "helper-linux-"+arch+".gz"), packed, []byte(note))
}

// cksum is the CRC of cksum(1), which takes the length as the content's last bytes.
func cksum(content []byte) uint32 {
	const polynomial = 0x04c11db7
	var crc uint32
	add := func(b byte) {
		crc ^= uint32(b) << 24
		for range 8 {
			if crc&(1<<31) != 0 {
				crc = crc<<1 ^ polynomial
			} else {
				crc <<= 1
			}
		}
	}
	for _, b := range content {
		add(b)
	}
	for n := len(content); n > 0; n >>= 8 {
		add(byte(n))
	}
	return ^crc
}

func pack(raw []byte) ([]byte, error) {
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(raw); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return packed.Bytes(), nil
}

// write leaves a file alone that is right already: what embeds it is not built again then.
func write(path string, packed, note []byte) error {
	content := append(note, packed...)
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, content) {
		return nil
	}
	temporary := path + ".new"
	if err := os.WriteFile(temporary, content, 0o644); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}
