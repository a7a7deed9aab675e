package stage

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"time"

	"github.com/pegbook/pegbook/lab"
)

// BrokenPackage packs a release whose server says its version and does not start: a library is missing that only
// the roles load.
func (s *Stage) BrokenPackage() (lab.Package, error) {
	const name = "pegasus-server-2.6.0-broken"
	script := "#!/bin/sh\ncase \"$*\" in *-version*) echo 'Pegasus Server 2.6.0 (broken)'; exit 0;; esac\n" +
		"echo './pegasus_server: error while loading shared libraries: libdsn_replica_server.so: cannot open shared object file' >&2\nexit 127\n"
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	archive := tar.NewWriter(zip)
	var errs []error
	for _, f := range []struct{ path, content string }{
		{"VERSION", "Pegasus Server 2.6.0 (broken) release\n"}, {"bin/pegasus_server", script}, {"bin/config.ini", "[core]\n"},
	} {
		h := &tar.Header{Name: name + "/" + f.path, Mode: 0o755, Size: int64(len(f.content)), ModTime: time.Unix(1_700_000_000, 0)}
		errs = append(errs, archive.WriteHeader(h))
		_, err := archive.Write([]byte(f.content))
		errs = append(errs, err)
	}
	if err := errors.Join(append(errs, archive.Close(), zip.Close())...); err != nil {
		return lab.Package{}, err
	}
	path, err := s.File(name+".tar.gz", out.String())
	return lab.Package{Version: "2.6.0", File: path}, err
}
