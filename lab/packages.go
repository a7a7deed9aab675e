package lab

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

//go:generate go run ./build embedded

//go:embed embedded
var embedded embed.FS

// configTemplate is the config.ini that the packages bring along, with its %{…} markers.
//
//go:embed pegasus/package/config.ini
var configTemplate []byte

// release is a version of the server that the lab has a package of.
type release string

// commit stands in the packages' names and VERSION files where a real one has the commit it was built of.
const commit = "0000000"

// releases are two unless others are asked for, so that there is something to update to. One program
// serves all: it behaves as the release that its package's VERSION names.
func releases(some []string) []release {
	if len(some) == 0 {
		return []release{"2.4.0", "2.5.0"}
	}
	list := make([]release, 0, len(some))
	for _, r := range some {
		list = append(list, release(r))
	}
	return list
}

func (r release) name() string {
	return "pegasus-server-" + string(r) + "-" + commit + "-glibc2.36-release"
}

// libraries stand for the shared libraries of a real package: without LD_LIBRARY_PATH to them the
// simulated server refuses to start, as the real one does.
func libraries() []string {
	return []string{"libdsn_meta_server.so", "libdsn_replica_server.so", "libdsn_utils.so"}
}

// program is the pegasus_server to pack.
func program(file string) ([]byte, error) {
	if file != "" {
		return os.ReadFile(file)
	}
	packed, err := embedded.ReadFile("embedded/pegasus_server-" + runtime.GOOS + "-" + runtime.GOARCH + ".gz")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("this pegbook was built without the simulated pegasus_server for %s/%s: run `make build`, or `go generate ./lab` before go build",
			runtime.GOOS, runtime.GOARCH)
	}
	if err != nil {
		return nil, err
	}
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("the simulated pegasus_server: %w", err)
	}
	return io.ReadAll(r)
}

// Packages makes the server packages that the lab deploys, in a folder: for hosts other than the lab's
// own. What is there already is kept. Without releases, such as 2.3.0, there are packages of two.
func Packages(dir string, releases ...string) ([]Package, error) { return pack(dir, "", releases...) }

// pack makes the packages that are not there yet, or are of another program.
func pack(dir, file string, some ...string) ([]Package, error) {
	content, err := program(file)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(append(content, configTemplate...))
	stamp := filepath.Join(dir, "made-of")
	made, err := os.ReadFile(stamp)
	fresh := err == nil && string(made) == hex.EncodeToString(sum[:])
	list := make([]Package, len(releases(some)))
	var group errgroup.Group
	for i, r := range releases(some) {
		group.Go(func() error {
			path := filepath.Join(dir, r.name()+".tar.gz")
			checksum, err := os.ReadFile(path + ".sha256")
			if !fresh || err != nil {
				if checksum, err = r.pack(path, content); err != nil {
					return err
				}
			}
			list[i] = Package{Version: string(r), File: path, SHA256: strings.TrimSpace(string(checksum))}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, fmt.Errorf("make the server packages: %w", err)
	}
	return list, writeFile(stamp, []byte(hex.EncodeToString(sum[:])))
}

// pack writes the package and, beside it, its checksum.
func (r release) pack(path string, program []byte) ([]byte, error) {
	var out bytes.Buffer
	zip, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	if err := r.tar(zip, program); err != nil {
		return nil, err
	}
	if err := zip.Close(); err != nil {
		return nil, err
	}
	if err := writeFile(path, out.Bytes()); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(out.Bytes())
	checksum := []byte(hex.EncodeToString(sum[:]) + "\n")
	return checksum, writeFile(path+".sha256", checksum)
}

// tar lays the package out as run.sh pack_server does (facts/pegasus.md §7.1).
func (r release) tar(w io.Writer, program []byte) error {
	archive := tar.NewWriter(w)
	version := fmt.Sprintf("Pegasus Server %s (%s) glibc2.36 release\n", r, commit)
	add := func(name string, mode int64, content []byte) error {
		h := &tar.Header{Name: r.name() + "/" + name, Mode: mode, Size: int64(len(content)), ModTime: time.Unix(1_700_000_000, 0), Format: tar.FormatUSTAR}
		if strings.HasSuffix(name, "/") || name == "" {
			h.Typeflag = tar.TypeDir
		}
		if err := archive.WriteHeader(h); err != nil {
			return err
		}
		_, err := archive.Write(content)
		return err
	}
	err := errors.Join(add("", 0o755, nil), add("VERSION", 0o644, []byte(version)), add("bin/", 0o755, nil),
		add("bin/pegasus_server", 0o755, program), add("bin/config.ini", 0o644, configTemplate))
	for _, name := range libraries() {
		err = errors.Join(err, add("bin/"+name, 0o755, nil))
	}
	return errors.Join(err, archive.Close())
}
