package plugins

import (
	"strings"
	"sync"
	"unicode"
)

// maxWords is how much of a plugin's output is kept.
const maxWords = 8 << 10

// tail keeps the end of what is written to it. It is safe for concurrent use and never blocks for long: whoever
// writes much only pushes out what it has written before.
type tail struct {
	mu   sync.Mutex // guards kept
	kept []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(p)
	if n > maxWords {
		p = p[n-maxWords:]
	}
	if over := len(t.kept) + len(p) - maxWords; over > 0 {
		t.kept = t.kept[:copy(t.kept, t.kept[over:])]
	}
	t.kept = append(t.kept, p...)
	return n, nil
}

// text is what was kept, as it may be shown: without control characters but line feeds.
func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(presentable(string(t.kept)))
}

// presentable is a text as a terminal may be given it.
func presentable(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return -1
	}, strings.ToValidUTF8(text, "?"))
}

// lastWords is the one line of a text that tells most: of a Go panic its first line, else the last.
func lastWords(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	words := lines[len(lines)-1]
	for _, line := range lines {
		if strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") {
			words = line
			break
		}
	}
	if runes := []rune(words); len(runes) > 300 {
		words = string(runes[:300]) + "…"
	}
	return strings.TrimSpace(words)
}
