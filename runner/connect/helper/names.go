package helper

import (
	"bytes"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"
)

// names tells users and groups by number and back, from /etc/passwd and /etc/group, and through getent
// where they do not know (a directory service). os/user would do the same at the price of cgo.
type names struct {
	mu     sync.Mutex // guards both tables
	users  table
	groups table
}

// table is one of the two files as it was when last read.
type table struct {
	modified time.Time
	size     int64
	names    map[int]string
	ids      map[string]entry
	// asked are getent's answers, the empty ones too, until forgotten.
	asked map[string]answer
}

// entry is a line: the number, the user's group, the home folder.
type entry struct {
	id, group int
	home      string
}

type answer struct {
	entry
	name  string
	found bool
	at    time.Time
}

// forget is how long getent's answers stand.
const forget = time.Minute

func (n *names) user(uid int) string  { return n.name(&n.users, "passwd", uid) }
func (n *names) group(gid int) string { return n.name(&n.groups, "group", gid) }

func (n *names) name(t *table, base string, id int) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	t.refresh("/etc/" + base)
	if name, ok := t.names[id]; ok {
		return name
	}
	return t.ask(base, strconv.Itoa(id)).name
}

// uid finds a user's number by name or by the number itself; group is the user's own.
func (n *names) uid(text string) (e entry, ok bool) { return n.lookup(&n.users, "passwd", text) }

func (n *names) gid(text string) (e entry, ok bool) { return n.lookup(&n.groups, "group", text) }

func (n *names) lookup(t *table, base, text string) (entry, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	t.refresh("/etc/" + base)
	if e, ok := t.ids[text]; ok {
		return e, true
	}
	if id, err := strconv.Atoi(text); err == nil && id >= 0 {
		return entry{id: id, group: -1}, true
	}
	a := t.ask(base, text)
	return a.entry, a.found
}

func (t *table) refresh(path string) {
	info, err := os.Stat(path)
	if err != nil || (info.ModTime().Equal(t.modified) && info.Size() == t.size && t.names != nil) {
		return
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return
	}
	*t = table{modified: info.ModTime(), size: info.Size(), names: map[int]string{}, ids: map[string]entry{}}
	for line := range bytes.Lines(text) {
		name, e, ok := parseEntry(string(line))
		if !ok {
			continue
		}
		if _, twice := t.names[e.id]; !twice {
			t.names[e.id] = name
		}
		if _, twice := t.ids[name]; !twice {
			t.ids[name] = e
		}
	}
}

// parseEntry reads a line of either file: name, password, number, and of a user the group and home.
func parseEntry(line string) (string, entry, bool) {
	f := strings.Split(strings.TrimRight(line, "\n"), ":")
	if len(f) < 3 || f[0] == "" {
		return "", entry{}, false
	}
	id, err := strconv.Atoi(f[2])
	if err != nil {
		return "", entry{}, false
	}
	e := entry{id: id, group: -1}
	if len(f) >= 6 {
		if group, err := strconv.Atoi(f[3]); err == nil {
			e.group = group
		}
		e.home = f[5]
	}
	return f[0], e, true
}

func (t *table) ask(base, key string) answer {
	if a, ok := t.asked[key]; ok && time.Since(a.at) < forget {
		return a
	}
	a := answer{at: time.Now()}
	if out, err := exec.Command("getent", base, key).Output(); err == nil {
		a.name, a.entry, a.found = parseEntry(string(out))
	}
	if t.asked == nil {
		t.asked = map[string]answer{}
	}
	t.asked[key] = a
	return a
}
