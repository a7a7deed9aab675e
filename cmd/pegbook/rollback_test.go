package main

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/runner/event"
)

// tree is what lies in a folder: kind, mode, owner, target and content of each path.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	require.NoError(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		fmt.Fprintf(&b, "%s %v %d:%d", strings.TrimPrefix(path, dir), info.Mode(), st.Uid, st.Gid)
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			require.NoError(t, err)
			b.WriteString(" → " + target)
		case info.Mode().IsRegular():
			content, err := os.ReadFile(path)
			require.NoError(t, err)
			fmt.Fprintf(&b, " %x", sha256.Sum256(content))
		}
		b.WriteString("\n")
		return nil
	}))
	return b.String()
}

// grow makes a random tree.
func grow(t *testing.T, random *rand.Rand, dir string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "d1", "d2"), 0o755))
	for _, name := range []string{"a", "b", "c", "d1/a", "d1/d2/a", "d1/d2/b"} {
		path := filepath.Join(dir, name)
		switch random.Intn(4) {
		case 0:
		case 1:
			require.NoError(t, os.Symlink([]string{"a", "d1/a", "nowhere"}[random.Intn(3)], path))
		default:
			text := strings.Repeat(fmt.Sprintf("line %d of %s\n", random.Intn(3), name), random.Intn(5))
			require.NoError(t, os.WriteFile(path, []byte(text), []fs.FileMode{0o600, 0o644, 0o755}[random.Intn(3)]))
		}
	}
}

// randomTask is a task that changes files, most of them such as can fail.
func randomTask(random *rand.Rand) string {
	path := []string{"a", "b", "c", "d1/a", "d1/d2/a", "d1/d2/b", "new", "n1/n2/x", "d1/n1"}[random.Intn(9)]
	mode := []string{"0600", "0640", "0755"}[random.Intn(3)]
	path = "{{ .dir }}/" + path
	return strings.NewReplacer("PATH", path, "MODE", mode, "NUMBER", fmt.Sprint(random.Intn(3))).Replace([]string{
		"copy: {dest: 'PATH', content: \"text NUMBER\\n\", mode: 'MODE'}",
		"copy: {dest: 'PATH', content: \"text NUMBER\\n\", backup: true}",
		"copy: {dest: '{{ .dir }}/n3/{{ .item }}', content: \"{{ .item }} NUMBER\\n\"}\n      loop: [one, two]",
		"file: {path: 'PATH', state: absent}",
		"file: {path: '{{ .dir }}/d1', state: absent}",
		"file: {path: 'PATH', state: touch, mode: 'MODE'}",
		"file: {path: 'PATH', state: link, src: somewhereNUMBER, force: true}",
		"file: {path: '{{ .dir }}/nNUMBER/sub', state: directory, mode: 'MODE'}",
		"file: {path: '{{ .dir }}/d1', state: directory, mode: 'MODE', recurse: true}",
		"lineinfile: {path: 'PATH', line: 'a line NUMBER', create: true}",
		"blockinfile: {path: 'PATH', block: 'a block NUMBER', create: true}",
		"replace: {path: 'PATH', regexp: 'line', replace: 'LINE NUMBER'}",
		"copy: {src: '{{ .dir }}/a', dest: 'PATH', remote_src: true}",
		"unarchive: {src: archive.tar.gz, dest: '{{ .dir }}/d1'}",
	}[random.Intn(14)])
}

// randomBook writes a playbook of random tasks, and an inventory of two hosts with trees of their own.
func randomBook(t *testing.T, random *rand.Rand, dir string) {
	t.Helper()
	var book strings.Builder
	book.WriteString("- hosts: all\n  gather_facts: false\n  serial: 1\n  ignore_errors: true\n  tasks:\n")
	for range 4 + random.Intn(12) {
		fmt.Fprintf(&book, "    - %s\n", randomTask(random))
	}
	if random.Intn(3) == 0 { // it stops on the way
		book.WriteString("    - fail: {msg: it stops}\n      ignore_errors: false\n      when: eq .pegbook_rollback.run \"\"\n")
	}
	var hosts strings.Builder
	for _, host := range []string{"h1", "h2"} {
		at := filepath.Join(dir, "trees", host)
		grow(t, random, at)
		fmt.Fprintf(&hosts, "%s ansible_connection=local ansible_remote_tmp=%s dir=%s\n", host, filepath.Join(dir, "tmp"), at)
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "site.yml"), []byte(book.String()), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "hosts"), []byte(hosts.String()), 0o600))
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "files"), 0o755))
	archived, err := os.ReadFile(filepath.Join("testdata", "rollback.tar.gz"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "files", "archive.tar.gz"), archived, 0o600))
}

// ranBook runs pegbook in this process.
func ranBook(t *testing.T, args ...string) *bookRun {
	t.Helper()
	b := &bookRun{t: t, code: make(chan int, 1), keys: make(chan os.Signal, 2)}
	b.code <- run(t.Context(), append(args, "--json"), streams{in: strings.NewReader(""), out: b, err: lockedErr{b}}, b.keys)
	return b
}

// TestRunsAreTakenBack has random playbooks of file modules run, some of them to their end, and takes the runs back:
// every byte, mode and owner is as before, and what the dry run of that has called changed is what was changed.
func TestRunsAreTakenBack(t *testing.T) {
	for seed := range int64(24) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewSource(seed))
			dir := t.TempDir()
			randomBook(t, random, dir)
			book, hosts := filepath.Join(dir, "site.yml"), filepath.Join(dir, "hosts")
			trees := filepath.Join(dir, "trees")
			before := tree(t, trees)
			forth := ranBook(t, "run", book, "-i", hosts)
			require.NotEqual(t, 1, <-forth.code, "%s", forth)
			after := tree(t, trees)
			run := forth.id()
			dry := ranBook(t, "runs", "rollback", run, "--check")
			if <-dry.code == 1 {
				require.Empty(t, forth.with(event.Changed), "%s", dry)
				return
			}
			require.Equal(t, after, tree(t, trees), "a dry run changes nothing")
			back := ranBook(t, "runs", "rollback", run, "--yes")
			require.Equal(t, 0, <-back.code, "%s", back)
			text, err := os.ReadFile(book)
			require.NoError(t, err)
			if strings.Contains(back.says(), "is there again") {
				return // a directory that was removed and made again is refused
			}
			require.Equal(t, before, tree(t, trees), "%s", text)
			predicted, changed := dry.with(event.Changed), back.with(event.Changed)
			assert.ElementsMatch(t, changed, predicted, "%s", text)

			// Once more there is nothing left to do.
			again := ranBook(t, "runs", "rollback", run, "--yes")
			<-again.code
			assert.Empty(t, again.with(event.Changed))
			require.Equal(t, before, tree(t, trees))
		})
	}
}

// TestWhatOthersHaveChangedStays: a file that somebody has edited since the run is not overwritten, but by force.
func TestWhatOthersHaveChangedStays(t *testing.T) {
	dir := t.TempDir()
	conf := filepath.Join(dir, "conf")
	require.NoError(t, os.WriteFile(conf, []byte("old\n"), 0o600))
	book, hosts := filepath.Join(dir, "site.yml"), filepath.Join(dir, "hosts")
	require.NoError(t, os.WriteFile(book, []byte("- hosts: all\n  gather_facts: false\n  tasks:\n    - copy: {dest: "+conf+", content: \"new\\n\"}\n"), 0o600))
	require.NoError(t, os.WriteFile(hosts, []byte("h1 ansible_connection=local ansible_remote_tmp="+dir+"\n"), 0o600))
	forth := ranBook(t, "run", book, "-i", hosts)
	require.Equal(t, 0, <-forth.code)
	require.NoError(t, os.WriteFile(conf, []byte("somebody else's\n"), 0o600))
	run := forth.id()
	back := ranBook(t, "runs", "rollback", run, "--yes")
	require.Equal(t, 2, <-back.code)
	assert.Contains(t, back.says(), conf+" was changed since by somebody else; --force takes run "+run+" back all the same")
	content, err := os.ReadFile(conf)
	require.NoError(t, err)
	assert.Equal(t, "somebody else's\n", string(content))
	forced := ranBook(t, "runs", "rollback", run, "--yes", "--force")
	require.Equal(t, 0, <-forced.code, "%s", forced)
	content, err = os.ReadFile(conf)
	require.NoError(t, err)
	assert.Equal(t, "old\n", string(content))

	// What the way back has replaced was kept as well.
	forth = ranBook(t, "runs", "rollback", forced.id(), "--yes")
	require.Equal(t, 0, <-forth.code, "%s", forth)
	content, err = os.ReadFile(conf)
	require.NoError(t, err)
	assert.Equal(t, "somebody else's\n", string(content))
}

// TestWhatWasInADirectoryThatWasRemovedComesBack, though the run has made it anew and removed it once more.
func TestWhatWasInADirectoryThatWasRemovedComesBack(t *testing.T) {
	dir := t.TempDir()
	at := filepath.Join(dir, "at")
	require.NoError(t, os.MkdirAll(filepath.Join(at, "d1", "empty"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(at, "d1", "file"), []byte("old\n"), 0o600))
	before := tree(t, at)
	book, hosts := filepath.Join(dir, "site.yml"), filepath.Join(dir, "hosts")
	text := "- hosts: all\n  gather_facts: false\n  tasks:\n" + strings.ReplaceAll(`
    - file: {path: AT/d1, state: absent}
    - file: {path: AT/d1/empty, state: directory}
    - copy: {dest: AT/d1/empty/x, content: "x\n"}
    - copy: {dest: AT/d1/file, content: "old\n", mode: "0600"}
    - file: {path: AT/d1, state: absent}
`, "AT", at)
	require.NoError(t, os.WriteFile(book, []byte(text), 0o600))
	require.NoError(t, os.WriteFile(hosts, []byte("h1 ansible_connection=local ansible_remote_tmp="+dir+"\n"), 0o600))
	forth := ranBook(t, "run", book, "-i", hosts)
	require.Equal(t, 0, <-forth.code, "%s", forth)
	back := ranBook(t, "runs", "rollback", forth.id(), "--yes")
	require.Equal(t, 0, <-back.code, "%s", back)
	require.Equal(t, before, tree(t, at))
}

// id is the run's.
func (b *bookRun) id() string {
	for _, e := range b.all() {
		if e.Event == "run_started" {
			return e.Run
		}
	}
	return ""
}

// TestDocumentedWhatIsTakenBack: the table says of every module what it says of itself.
func TestDocumentedWhatIsTakenBack(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "runs.md"))
	require.NoError(t, err)
	_, table, _ := strings.Cut(string(page), "| modules | when a run is taken back |\n")
	table, _, _ = strings.Cut(table, "\n\n")
	said := map[string]string{}
	for _, row := range strings.Split(table, "\n")[1:] {
		cells := strings.Split(row, " | ")
		require.Len(t, cells, 2, row)
		what, _, _ := strings.Cut(cells[1], ":")
		for name := range strings.SplitSeq(strings.TrimPrefix(cells[0], "| "), ", ") {
			name = strings.Trim(name, "`")
			assert.Empty(t, said[name], "%s stands there twice", name)
			said[name] = what
		}
	}
	for _, m := range moduleSet().All() {
		switch {
		case m.Keeps || m.Restore != nil:
			assert.Equal(t, "put back", said[m.Name], m.Name)
		case m.ByHand != "":
			assert.Equal(t, "by hand", said[m.Name], m.Name)
		default:
			assert.Contains(t, []string{"again", "nothing"}, said[m.Name], m.Name)
		}
		delete(said, m.Name)
	}
	assert.Empty(t, said, "there are no such modules")
}
