package main

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/pegbook/pegbook/lab"
)

// fresh are the lines that the servers wrote down since the last time.
func (k *killed) fresh() []string {
	k.t.Helper()
	text, err := os.ReadFile(k.state.Changes())
	require.NoError(k.t, err)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	fresh := lines[k.seen:]
	k.seen = len(lines)
	return fresh
}

// told is what was done to servers, as it can be compared: with hosts in place of addresses; meta servers, of which
// chance makes one the leader, by the order in which they come up, and what is asked of the leader as asked of the
// cluster; which partitions a server happened to have left out; of what runs side by side the order left out.
func (k *killed) told(lines []string) []string {
	c := canon{k.hostsByAddress(), map[string]string{}}
	var all []string
	for _, line := range lines {
		_, line, _ = strings.Cut(line, " ")
		if s := c.line(line); s != "" && (len(all) == 0 || all[len(all)-1] != s) {
			all = append(all, s)
		}
	}
	return withoutResets(slices.Compact(sortRuns(all)))
}

// chance is what befell a cluster that nobody did to it: on a machine that is slow for a moment a meta server loses its
// session, and with it the lead and what it was told, or calls a server dead that runs, or a server ends of itself.
type chance struct {
	leader string          // address of the one that leads, "" while none does
	runs   map[string]bool // addresses of the servers that run, after their start

	lapses, deaths int
	// levelLost says that the lead was lost before the playbook had set a level: what was there before it is gone.
	levelLost bool
}

// take takes in what the servers wrote down.
func (c *chance) take(lines []string) {
	for _, line := range lines {
		w := strings.Fields(line) // TIME ADDRESS ROLE WHAT…
		switch w[3] {
		case "start", "stop", "abort":
			if w[3] == "abort" {
				c.deaths++
			}
			c.runs[w[1]] = w[3] == "start"
			if c.leader == w[1] {
				c.leader = ""
			}
		case "leads":
			if c.leader != "" {
				c.lapses++
			}
			c.leader = w[1]
		case "calls":
			if c.runs[w[4]] {
				c.deaths++
			}
		}
	}
}

// stage takes in what was written down during a stage, and gives what befell the cluster meanwhile.
func (c *chance) stage(lines []string) chance {
	c.lapses, c.deaths = 0, 0
	first := slices.IndexFunc(lines, func(s string) bool { return strings.Contains(s, " meta level ") })
	if first < 0 { // the level that servers start with is the one that the playbook wants
		first = len(lines)
	}
	c.take(lines[:first])
	c.levelLost = c.lapses > 0
	c.take(lines[first:])
	return *c
}

// withoutResets leaves out that a setting is put back to its default when that was the last that was done to it:
// nobody can ask whether it has been.
func withoutResets(lines []string) []string {
	var all []string
	reset := map[string]bool{}
	for _, line := range lines {
		if !strings.HasSuffix(line, " DEFAULT") {
			clear(reset)
		} else if reset[line] {
			continue
		}
		reset[line] = true
		all = append(all, line)
	}
	return all
}

func (k *killed) hostsByAddress() map[string]string {
	hosts := map[string]string{}
	for _, h := range k.state.Hosts {
		hosts[h.IP] = h.Name
	}
	return hosts
}

type canon struct{ hosts, metas map[string]string }

// host gives the name of a server.
func (c *canon) host(address string) string {
	ip, _, _ := strings.Cut(address, ":")
	return c.hosts[ip]
}

// line is a line of the changes as it is compared; "" when it is said by another one.
func (c *canon) line(line string) string {
	w := strings.Fields(line) // ADDRESS ROLE WHAT…
	host, what := c.host(w[0]), strings.Join(w[2:], " ")
	switch {
	case w[1] == "meta" && (w[2] == "leads" || w[2] == "calls"), w[2] == "abort": // nobody told it to
		return ""
	case w[2] == "propose" && w[3] == "UPGRADE_TO_PRIMARY": // the other half of a primary's move
		return ""
	case w[2] == "propose": // KIND of PARTITION at SERVER to SERVER
		return "cluster: " + w[3] + " " + c.host(w[9])
	case w[2] == "command" && w[3] == "replica.kill_partition":
		return host + ": partitions closed"
	case w[1] == "meta" && w[2] != "start" && w[2] != "stop":
		return "cluster: " + what
	case w[1] == "meta":
		if c.metas[host] == "" {
			c.metas[host] = fmt.Sprintf("meta-%c", 'A'+len(c.metas))
		}
		host = c.metas[host]
		if w[2] == "start" {
			what = "start " + w[3] // configurations are looked at as files
		}
	}
	return host + ": " + what
}

// sortRuns sorts starts that follow one another, and stops.
func sortRuns(lines []string) []string {
	kind := func(s string) string {
		_, what, _ := strings.Cut(s, ": ")
		first, _, _ := strings.Cut(what, " ")
		return first
	}
	for i := 0; i < len(lines); {
		j := i + 1
		for j < len(lines) && kind(lines[j]) == kind(lines[i]) {
			j++
		}
		if k := kind(lines[i]); k == "start" || k == "stop" {
			slices.Sort(lines[i:j])
		}
		i = j
	}
	return lines
}

// end is how a cluster was left: what runs, what is in the files, what is set.
func (k *killed) end() map[string]string {
	t := k.t
	t.Helper()
	end := map[string]string{"settings": k.settings()}
	for name, p := range k.processes() {
		end[name] = p.Version
	}
	tables, err := k.client().Apps(t.Context())
	require.NoError(t, err)
	for _, table := range tables {
		end["table "+table.Name] = fmt.Sprint(table.PartitionCount)
	}
	root := filepath.Join(k.state.Dir, "hosts")
	require.NoError(t, filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // a server has removed it meanwhile
		}
		short, watched := watchedPath(root, path)
		if watched || isStaging(filepath.Base(path)) { // which must not be left behind
			end[short] = fileState(path)
		}
		return nil
	}))
	return end
}

// watchedPath gives a path below the hosts' folders as it is called, and whether it is what playbooks change: not what
// servers write, nor what pegbook itself needs on a host.
func watchedPath(root, path string) (string, bool) {
	short, err := filepath.Rel(root, path)
	if err != nil || short == "." {
		return short, false
	}
	parts := strings.Split(short, "/")
	for _, p := range parts {
		if strings.Contains(p, ".pegbook-") && p != ".pegbook-release.json" || p == ".uploads" {
			return short, false
		}
	}
	if i := slices.IndexFunc(parts, isStaging); i >= 0 {
		return short, false
	}
	switch {
	case len(parts) < 2, parts[1] == "tmp", parts[1] == ".pegbook":
		return short, false
	case parts[1] == "app" || strings.HasPrefix(parts[1], "ssd"):
		return short, len(parts) <= 4
	}
	return short, true
}

// isStaging says whether a folder is where a release is unpacked before it gets its name.
func isStaging(name string) bool {
	return strings.HasPrefix(name, ".") && strings.HasSuffix(name, ".new")
}

// inStateDir says whether a file is what the daemon module knows of a process: other numbers each time.
func inStateDir(short string) bool { return strings.Contains(short, "/pegasus/run/") }

// fileState is what is at a path.
func fileState(path string) string {
	info, err := os.Lstat(path)
	switch {
	case err != nil:
		return "gone"
	case info.IsDir():
		return "folder " + info.Mode().Perm().String()
	case inStateDir(path):
		return "state"
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(path)
		if err != nil {
			return "gone"
		}
		return "-> " + target
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "gone"
	}
	sum := sha256.Sum256(text)
	return fmt.Sprintf("%s %d %s", info.Mode().Perm(), len(text), hex.EncodeToString(sum[:6]))
}

// fileWatch writes down which states the files of hosts go through, from what the kernel tells of them.
type fileWatch struct {
	t      *testing.T
	root   string
	fd     int
	pipe   [2]int
	dirs   map[int32]string
	last   map[string]string
	states map[string][]string
	done   chan struct{}
}

func watchFiles(t *testing.T, state *lab.State) *fileWatch {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	require.NoError(t, err)
	w := &fileWatch{t: t, root: filepath.Join(state.Dir, "hosts"), fd: fd, dirs: map[int32]string{}, last: map[string]string{}, states: map[string][]string{}, done: make(chan struct{})}
	require.NoError(t, unix.Pipe2(w.pipe[:], unix.O_CLOEXEC))
	w.add(w.root)
	w.states = map[string][]string{} // what was there before is no change
	go w.run()
	return w
}

// stop ends the watch and gives what it has seen, by path.
func (w *fileWatch) stop() map[string][]string {
	unix.Close(w.pipe[1])
	<-w.done
	unix.Close(w.pipe[0])
	unix.Close(w.fd)
	return w.states
}

// add watches a folder with all that is below it, and takes in what is there.
func (w *fileWatch) add(dir string) {
	_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // it is gone again
		}
		_, watched := watchedPath(w.root, path)
		host := filepath.Dir(path) == w.root
		if !watched && path != w.root && !host {
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		w.take(path)
		if entry.IsDir() {
			wd, err := unix.InotifyAddWatch(w.fd, path, unix.IN_CREATE|unix.IN_CLOSE_WRITE|unix.IN_MOVED_FROM|unix.IN_MOVED_TO|unix.IN_DELETE|unix.IN_ATTRIB|unix.IN_ONLYDIR)
			if err == nil {
				w.dirs[int32(wd)] = path
			}
		}
		return nil
	})
}

// take writes down the state of a path if it is another one than before.
func (w *fileWatch) take(path string) {
	short, watched := watchedPath(w.root, path)
	if !watched || inStateDir(short) {
		return
	}
	if state := fileState(path); w.last[short] != state {
		w.last[short] = state
		w.states[short] = append(w.states[short], state)
	}
}

func (w *fileWatch) run() {
	defer close(w.done)
	buffer := make([]byte, 1<<16)
	for {
		polled := []unix.PollFd{{Fd: int32(w.fd), Events: unix.POLLIN}, {Fd: int32(w.pipe[0]), Events: unix.POLLIN}}
		if _, err := unix.Poll(polled, -1); err != nil && err != unix.EINTR {
			return
		}
		n, err := unix.Read(w.fd, buffer)
		for rest := buffer[:max(n, 0)]; err == nil && len(rest) >= unix.SizeofInotifyEvent; {
			rest = w.event(rest)
		}
		if n <= 0 && polled[1].Revents != 0 {
			return
		}
	}
}

// event takes in one event and gives what follows it.
func (w *fileWatch) event(b []byte) []byte {
	wd, mask, size := int32(binary.NativeEndian.Uint32(b)), binary.NativeEndian.Uint32(b[4:]), binary.NativeEndian.Uint32(b[12:])
	name := strings.TrimRight(string(b[unix.SizeofInotifyEvent:unix.SizeofInotifyEvent+size]), "\x00")
	if mask&unix.IN_Q_OVERFLOW != 0 {
		w.t.Error("the kernel has lost events of files")
	}
	if dir, ok := w.dirs[wd]; ok && name != "" {
		path := filepath.Join(dir, name)
		w.take(path)
		if mask&unix.IN_ISDIR != 0 && mask&(unix.IN_CREATE|unix.IN_MOVED_TO) != 0 {
			w.add(path)
		}
	}
	return b[unix.SizeofInotifyEvent+size:]
}
