package connect

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
)

//go:generate go run ./helper/build embedded

//go:embed embedded
var embedded embed.FS

// errNoHelper is a pegbook that was built without the programs it sends to hosts.
var errNoHelper = errors.New("this pegbook was built without its helper programs; run `make build`, or `go generate ./runner/connect` before go build")

// binary is the helper for one kind of host.
type binary struct {
	sum    string // SHA-256 of the program; it is also the helper's version
	crc    uint32 // of the program, as cksum(1) reckons it
	size   int    // of the program
	length int    // of the program, gzip
	// packed gives the program, gzip. It is read when the first host needs it: most runs find it there.
	packed func() ([]byte, error)
}

// binaries are the helpers by GOARCH, read once.
type binaries struct {
	files fs.FS
	once  sync.Once
	list  map[string]binary
	err   error
}

func (b *binaries) all() (map[string]binary, error) {
	b.once.Do(func() { b.list, b.err = readBinaries(b.files) })
	return b.list, b.err
}

func readBinaries(files fs.FS) (map[string]binary, error) {
	list := map[string]binary{}
	for _, arch := range []string{"amd64", "arm64"} {
		b, err := readBinary(files, "embedded/helper-linux-"+arch+".gz")
		if errors.Is(err, fs.ErrNotExist) {
			return nil, errNoHelper
		}
		if err != nil {
			return nil, fmt.Errorf("the helper for linux/%s: %w", arch, err)
		}
		list[arch] = b
	}
	return list, nil
}

// readBinary reads the line before an archive.
func readBinary(files fs.FS, name string) (b binary, err error) {
	f, err := files.Open(name)
	if err != nil {
		return b, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return b, err
	}
	note, err := bufio.NewReaderSize(f, 128).ReadString('\n')
	if err == nil {
		_, err = fmt.Sscanf(note, "%s %d %d", &b.sum, &b.crc, &b.size)
	}
	if err != nil || len(b.sum) != 64 {
		return b, fmt.Errorf("it is damaged: %w", errNoHelper)
	}
	b.length = int(info.Size()) - len(note)
	b.packed = sync.OnceValues(func() ([]byte, error) {
		content, err := fs.ReadFile(files, name)
		return content[min(len(note), len(content)):], err
	})
	return b, nil
}

// cksum is what cksum(1) says of the program.
func (b binary) cksum() string { return fmt.Sprint(b.crc, b.size) }

// unpacked is the program itself, for hosts without gzip.
func (b binary) unpacked() ([]byte, error) {
	packed, err := b.packed()
	if err != nil {
		return nil, err
	}
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(r, int64(b.size)))
}
