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
)

// logKeep and logLines are the server's own limits: files kept, lines in one.
const (
	logKeep  = 500
	logLines = 200_000
)

// logFile is <app.dir>/log/log.N.txt. Lines of level E and F go to out as well.
type logFile struct {
	role string
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
func openLog(dir, role string, out io.Writer) *logFile {
	l := &logFile{role: role, out: out, dir: dir, pid: os.Getpid()}
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

func (l *logFile) path(i int) string { return filepath.Join(l.dir, fmt.Sprintf("log.%d.txt", i)) }

// next begins another file; the caller holds mu or is alone.
func (l *logFile) next() {
	if l.file != nil {
		l.file.Close()
	}
	l.index++
	l.lines = 0
	l.file, _ = os.OpenFile(l.path(l.index), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644) // nil swallows lines
	_ = os.Remove(l.path(l.index - logKeep))
}

// Line writes one line in the server's form. place is file:line:func().
func (l *logFile) Line(level byte, place, format string, args ...any) {
	now := time.Now()
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
