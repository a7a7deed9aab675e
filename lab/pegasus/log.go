package pegasus

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pegbook/pegbook/lab/pegasus/internal/release"
)

// logKeep and logLines are the server's own limits: files kept, lines in one.
const (
	logKeep  = 500
	logLines = 200_000
)

// logFile is <app.dir>/log/log.N.txt, or since 2.6 <role>.log.TIME with a link
// <role>.log to it. Lines of level E and F go to out as well.
type logFile struct {
	role string
	of   release.Release
	out  io.Writer
	dir  string
	pid  int

	mu    sync.Mutex // guards file, index, lines
	file  *os.File
	index int
	lines int
}

// openLog starts the file after the newest one in dir. A directory that cannot
// be written is no reason not to start; the real server then logs to ./log.
func openLog(dir, role string, of release.Release, out io.Writer) *logFile {
	l := &logFile{role: role, of: of, out: out, dir: dir, pid: os.Getpid()}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		l.dir = "log"
		_ = os.MkdirAll(l.dir, 0o755) // without it lines go nowhere
	}
	l.index = newest(l.dir)
	l.next()
	return l
}

func newest(dir string) int {
	last := 0
	entries, _ := os.ReadDir(dir) // none: the first file is 1
	for _, e := range entries {
		n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(e.Name(), "log."), ".txt"))
		if err == nil && n > last {
			last = n
		}
	}
	return last
}

func (l *logFile) path(i int) string {
	if l.of < release.R26 {
		return filepath.Join(l.dir, fmt.Sprintf("log.%d.txt", i))
	}
	now := time.Now()
	name := fmt.Sprintf("%s.log.%s_%03d", l.role, now.Format("20060102_150405"), now.Nanosecond()/1_000_000)
	link := filepath.Join(l.dir, l.role+".log")
	_ = os.Remove(link)        // the one of the file before
	_ = os.Symlink(name, link) // a log without a link is still a log
	return filepath.Join(l.dir, name)
}

// next begins another file; the caller holds mu or is alone.
func (l *logFile) next() {
	if l.file != nil {
		l.file.Close()
	}
	l.index++
	l.lines = 0
	l.file, _ = os.OpenFile(l.path(l.index), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644) // nil swallows lines
	if l.of < release.R26 {
		_ = os.Remove(l.path(l.index - logKeep))
	}
}

// Line writes one line in the server's form. place is file:line:func().
func (l *logFile) Line(level byte, place, format string, args ...any) {
	now := time.Now()
	level = l.of.Letter(level)
	// Milliseconds are not padded; that is how the server writes them.
	text := fmt.Sprintf("%c%s.%d (%d %d) %7s.io-thrd.%d: %s: %s\n", level, now.Format("2006-01-02 15:04:05"),
		now.Nanosecond()/1_000_000, now.UnixNano(), l.pid, l.role, l.pid, place, fmt.Sprintf(format, args...))
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		_, _ = io.WriteString(l.file, text) // a full disk must not stop the server
	}
	if l.lines++; l.lines >= logLines {
		l.next()
	}
	if level == 'E' || level == 'F' {
		_, _ = io.WriteString(l.out, text)
	}
}

func (l *logFile) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		l.file.Close()
		l.file = nil
	}
}
