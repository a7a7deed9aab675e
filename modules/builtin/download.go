package builtin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/pegbook/pegbook/modules"
)

// missingSource is a package that is not on the control node. It only matters where a host needs it.
type missingSource struct {
	name string
	err  error
}

func (s missingSource) Name() string                 { return s.name }
func (s missingSource) Size() int64                  { return 0 }
func (s missingSource) SHA256() (string, error)      { return "", s.err }
func (s missingSource) Open() (io.ReadCloser, error) { return nil, s.err }

// fetchPackage gets a package from an address into the user's cache on the control node, where its checksum is
// its name. Of several hosts that need it at the same time, one fetches and the others wait.
func fetchPackage(ctx context.Context, address, sum string, timeout time.Duration, note func(string, ...any)) (modules.Source, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w; set HOME or XDG_CACHE_HOME", address, err)
	}
	dir := filepath.Join(cache, "pegbook", "packages")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	unlock, err := lockFile(ctx, filepath.Join(dir, sum+".lock"))
	if err != nil {
		return nil, err
	}
	defer unlock()
	kept := filepath.Join(dir, sum)
	if source, err := modules.LocalFile(kept); err == nil {
		if found, err := source.SHA256(); err == nil && found == sum {
			return source, nil
		}
	}
	note("fetches %s", address)
	ctx, stop := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("fetching took longer than %s", timeout))
	defer stop()
	if err := download(ctx, address, sum, kept); err != nil {
		return nil, fmt.Errorf("fetch %s: %w", address, err)
	}
	return modules.LocalFile(kept)
}

// lockFile takes a lock that other processes see, too.
func lockFile(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = sleep(ctx, 100*time.Millisecond)
		}
		if err != nil {
			f.Close()
			return nil, err
		}
	}
}

func download(ctx context.Context, address, sum, to string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("the server answers %s", answer.Status)
	}
	f, err := os.CreateTemp(filepath.Dir(to), ".fetch-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(io.MultiWriter(f, h), answer.Body); err != nil {
		return err
	}
	if found := hex.EncodeToString(h.Sum(nil)); found != sum {
		return fmt.Errorf("what came has the checksum %s, not %s; it is another package or a damaged one", found, sum)
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), to)
}
