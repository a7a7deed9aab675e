package replica

import (
	"os"
	"path/filepath"

	"github.com/pegbook/pegbook/lab/pegasus/internal/peer"
	"github.com/pegbook/pegbook/lab/pegasus/internal/release"
)

// sharedLog is the file that a server before 2.6 keeps while a write may be in
// no replica's own files yet.
func (s *Stub) sharedLog() string { return filepath.Join(s.Config.SlogDir(), "log.1.0") }

// refuses is why this release cannot start on the data that is here, "" when it
// can (facts/pegasus.md §6.6).
func (s *Stub) refuses(found map[peer.GPID]*disk) string {
	of := release.Parse(s.Version)
	_, err := os.Stat(s.sharedLog())
	if err == nil && of >= release.R26 {
		return "assertion expression: [slog directory(" + filepath.Dir(s.sharedLog()) +
			") is empty] make sure you are upgrading from 2.5.0 and that all replicas were closed and flushed before"
	}
	for _, d := range found {
		d.version = s.Version
		var info initInfo
		if readJSON(filepath.Join(d.dir, ".init-info"), &info) != nil {
			continue // opening it says what is wrong with it
		}
		if why := release.Upgradable(info.Version, of, err != nil); why != "" {
			return why
		}
	}
	return ""
}

// wrote notes that a write may be in the shared log only.
func (s *Stub) wrote() {
	if release.Parse(s.Version) >= release.R26 {
		return
	}
	path := s.sharedLog()
	if _, err := os.Stat(path); err == nil {
		return
	}
	if os.MkdirAll(filepath.Dir(path), 0o755) == nil {
		_ = os.WriteFile(path, []byte("shared log\n"), 0o644) // a full disk has no log
	}
}

// Flush is flush-log: when no replica is open any more, nothing is left in the
// shared log.
func (s *Stub) Flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.replicas) == 0 && s.closing == 0 && s.opening == 0 {
		_ = os.Remove(s.sharedLog()) // it may never have been
	}
}
