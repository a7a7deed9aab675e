package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/pegbook/pegbook/runner/playbook"
)

// TestValidate holds validate against playbooks in good order and with mistakes. Those in good order are the shipped
// ones, which have neither errors nor warnings, and the conformance cases that a real run starts, which have no errors.
// Then one mistake at a time is made in them. It counts as found when validate says something that it did not say
// before. The table says apart how many are errors; go test -args mutations=N seed=N misses makes
// more, and others, and lists those that are missed.
func TestValidate(t *testing.T) {
	subjects := mutationSubjects(t)
	t.Run("raises no false alarm", func(t *testing.T) {
		for _, s := range subjects {
			for _, d := range s.before {
				assert.True(t, d.Severity == "warning" && !s.shipped, "%s: %s:%d: %s: %s", s.name, d.File, d.Line, d.Severity, d.Message)
			}
		}
	})
	t.Run("finds seeded errors", func(t *testing.T) { seedErrors(t, subjects) })
}

func seedErrors(t *testing.T, subjects []*mutationSubject) {
	total, seed, listMisses := mutationArgs()
	random := rand.New(rand.NewSource(seed))
	sites := map[string][]mutation{}
	for _, s := range subjects {
		for _, m := range s.mutations(t, random) {
			sites[m.kind] = append(sites[m.kind], m)
		}
	}
	tally := map[string]*mutationTally{}
	kinds := slices.Sorted(maps.Keys(sites))
	made := 0
	for made < total {
		before := made
		for _, kind := range kinds {
			if len(sites[kind]) == 0 || made == total {
				continue
			}
			i := random.Intn(len(sites[kind]))
			m := sites[kind][i]
			sites[kind] = slices.Delete(sites[kind], i, i+1)
			made++
			if tally[kind] == nil {
				tally[kind] = &mutationTally{}
			}
			outcome := m.judge(t)
			tally[kind].add(outcome)
			if outcome == missed && listMisses {
				fmt.Printf("missed %-14s %s %s:%d %q → %q\n", kind, m.of.name, m.file, m.line, m.from, m.to)
			}
		}
		require.NotEqual(t, before, made, "there are no more places for mistakes")
	}
	sum := mutationTally{}
	fmt.Println("kind of mistake    made  error  warning  missed")
	for _, kind := range kinds {
		if y := tally[kind]; y != nil {
			fmt.Printf("%-17s  %4d  %5d  %7d  %6d\n", kind, y.made(), y.errors, y.warnings, y.missed)
			sum.errors, sum.warnings, sum.missed = sum.errors+y.errors, sum.warnings+y.warnings, sum.missed+y.missed
		}
	}
	fmt.Printf("%-17s  %4d  %5d  %7d  %6d\n", "all", sum.made(), sum.errors, sum.warnings, sum.missed)
	assert.GreaterOrEqual(t, float64(sum.errors+sum.warnings), 0.97*float64(sum.made()))
}

// mutationArgs are how many mistakes to make, which ones, and whether to list those that are missed.
func mutationArgs() (total int, seed int64, list bool) {
	total, seed = 300, 20261122
	for _, arg := range flag.Args() {
		if n, ok := strings.CutPrefix(arg, "mutations="); ok {
			total, _ = strconv.Atoi(n)
		}
		if n, ok := strings.CutPrefix(arg, "seed="); ok {
			seed, _ = strconv.ParseInt(n, 10, 64)
		}
		list = list || arg == "misses"
	}
	return total, seed, list
}

type mutationTally struct{ errors, warnings, missed int }

func (y *mutationTally) made() int { return y.errors + y.warnings + y.missed }

type mutationOutcome int

const (
	missed mutationOutcome = iota
	asWarning
	asError
)

func (y *mutationTally) add(o mutationOutcome) {
	switch o {
	case asError:
		y.errors++
	case asWarning:
		y.warnings++
	case missed:
		y.missed++
	}
}

// mutationSubject is playbooks with all they need, and how they are validated.
type mutationSubject struct {
	name, dir string
	args      []string
	env       map[string]string
	shipped   bool
	before    []foundProblem  // by validate, unmutated
	opened    map[string]bool // files of a shipped playbook
}

// foundProblem is a problem as validate --json tells it.
type foundProblem struct {
	Event, File, Message, Severity string
	Line                           int
}

// mutationSubjects are the shipped playbooks with both inventories, and every case that a run starts.
func mutationSubjects(t *testing.T) []*mutationSubject {
	t.Helper()
	var all []*mutationSubject
	shipped := t.TempDir()
	for _, dir := range []string{"playbooks", "inventories"} {
		require.NoError(t, os.CopyFS(filepath.Join(shipped, dir), os.DirFS(filepath.Join("..", "..", dir))))
	}
	books, err := filepath.Glob(filepath.Join(shipped, "playbooks", "*.yml"))
	require.NoError(t, err)
	for _, book := range books {
		for _, inventory := range []string{"lab.yml", "prod.yml"} {
			name := filepath.Base(book) + " " + inventory
			all = append(all, &mutationSubject{name: name, dir: shipped, shipped: true,
				args: []string{"-i", filepath.Join("inventories", inventory), filepath.Join("playbooks", filepath.Base(book))}})
		}
	}
	dirs, err := filepath.Glob(filepath.Join("testdata", "conformance", "*", "*"))
	require.NoError(t, err)
	listed := differences(t)
	for _, dir := range dirs {
		if _, err := os.Stat(filepath.Join(dir, "case.json")); err != nil {
			continue
		}
		number, _, _ := strings.Cut(filepath.Base(dir), "-")
		if c := readCase(t, dir); c.want.ExitCode != 1 && listed[number] == "" {
			all = append(all, caseSubject(t, c))
		}
	}
	for _, s := range all {
		s.before = s.validate(t, s.dir)
	}
	return all
}

// caseSubject is a conformance case with the arguments that validate has, too.
func caseSubject(t *testing.T, c *conformanceCase) *mutationSubject {
	t.Helper()
	// A copy: reading an inventory may run a script, and that one may leave something behind.
	dir := filepath.Join(t.TempDir(), filepath.Base(c.dir))
	require.NoError(t, os.CopyFS(dir, os.DirFS(c.dir)))
	s := &mutationSubject{name: filepath.Base(dir), dir: dir, env: map[string]string{}}
	sources := c.Inventory
	if _, err := os.Stat(filepath.Join(dir, "inventory.yml")); sources == nil && err == nil {
		sources = []string{"inventory.yml"}
	}
	for _, source := range sources {
		s.args = append(s.args, "-i", source)
	}
	for _, arg := range c.Args {
		switch text := scalarText(arg); text {
		case "--check", "--diff", "-C", "-D", "-v", "-vv":
		default:
			s.args = append(s.args, text)
		}
	}
	for name, value := range c.Env {
		s.env[name] = scalarText(value)
	}
	if len(c.Playbooks) == 0 {
		c.Playbooks = []string{"site.yml"}
	}
	s.args = append(s.args, c.Playbooks...)
	return s
}

// validate runs validate --json in a copy of the subject and gives what it found.
func (s *mutationSubject) validate(t *testing.T, dir string) []foundProblem {
	t.Helper()
	t.Chdir(dir)
	for name, value := range s.env {
		t.Setenv(name, value)
	}
	var out, errs bytes.Buffer
	code := run(t.Context(), append([]string{"validate", "--json"}, s.args...), streams{in: strings.NewReader(""), out: &out, err: &errs}, nil)
	var found []foundProblem
	for dec := json.NewDecoder(&out); ; {
		var p foundProblem
		if err := dec.Decode(&p); err == io.EOF {
			break
		} else {
			require.NoError(t, err)
		}
		if p.Event == "problem" {
			found = append(found, p)
		}
	}
	if code == 1 && !slices.ContainsFunc(found, func(p foundProblem) bool { return p.Severity == "error" }) {
		found = append(found, foundProblem{Severity: "error", Message: errs.String()})
	}
	return found
}

// mutation is one mistake in one file.
type mutation struct {
	of       *mutationSubject
	kind     string
	file     string
	offset   int
	line     int
	from, to string
	rename   string // the new name of the file, where that is the mistake
}

// judge makes the mistake in a copy of the subject and says how validate takes it.
func (m mutation) judge(t *testing.T) mutationOutcome {
	t.Helper()
	dir, err := os.MkdirTemp("", "mutation")
	require.NoError(t, err)
	defer os.RemoveAll(dir) //nolint:errcheck // a folder below /tmp
	require.NoError(t, os.CopyFS(dir, os.DirFS(m.of.dir)))
	path := filepath.Join(dir, m.file)
	if m.rename != "" {
		require.NoError(t, os.Rename(path, filepath.Join(filepath.Dir(path), m.rename)))
	} else {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		changed := string(text[:m.offset]) + m.to + string(text[m.offset+len(m.from):])
		require.NoError(t, os.WriteFile(path, []byte(changed), 0o600))
	}
	got := missed
	for _, p := range m.of.validate(t, dir) {
		if slices.ContainsFunc(m.of.before, func(b foundProblem) bool { return b.Message == p.Message && b.File == p.File }) {
			continue
		}
		if p.Severity == "error" {
			return asError
		}
		if p.Line > 0 || m.rename != "" || p.File != "" {
			got = asWarning
		}
	}
	return got
}

// mutations are the mistakes that can be made in the subject's files.
func (s *mutationSubject) mutations(t *testing.T, random *rand.Rand) []mutation {
	t.Helper()
	var all []mutation
	names, known := sync.OnceValue(s.names), moduleSet() // made once: there are thousands of places
	for _, file := range s.files(t) {
		text, err := os.ReadFile(filepath.Join(s.dir, file))
		require.NoError(t, err)
		f := &mutationFile{s: s, name: file, text: string(text), random: random, names: names, known: known}
		f.sites()
		all = append(all, f.found...)
	}
	return all
}

// files are those that the subject reads.
func (s *mutationSubject) files(t *testing.T) []string {
	t.Helper()
	var files []string
	require.NoError(t, filepath.WalkDir(s.dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name, err := filepath.Rel(s.dir, path)
		if s.shipped && s.reads(name) || !s.shipped && filepath.Ext(name) == ".yml" && !strings.HasPrefix(filepath.Base(name), ".") {
			files = append(files, name)
		}
		return err
	}))
	return files
}

// reads are the files that a shipped playbook is made of: what others use is no mistake here.
func (s *mutationSubject) reads(name string) bool {
	if s.opened == nil {
		s.opened = map[string]bool{}
		playbook.Parse(filepath.Join(s.dir, s.args[len(s.args)-1]), playbook.Options{Files: openedFiles{s}})
	}
	inventory := s.args[1]
	switch {
	case name == inventory, s.opened[filepath.Join(s.dir, name)]:
		return !strings.Contains(name, "defaults")
	case strings.Contains(name, "group_vars"):
		return strings.HasSuffix(inventory, "prod.yml")
	}
	return strings.Contains(name, "templates") && strings.HasPrefix(s.name, "deploy.yml")
}

// openedFiles is the disk that notes which files are read.
type openedFiles struct{ s *mutationSubject }

func (f openedFiles) ReadFile(path string) ([]byte, error) {
	f.s.opened[path] = true
	return os.ReadFile(path)
}

func (openedFiles) IsDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

func (openedFiles) List(dir string) []string {
	entries, _ := os.ReadDir(dir)
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
		if e.IsDir() {
			names[i] += "/"
		}
	}
	return names
}

// sameYAML says whether two texts mean the same.
func sameYAML(a, b string) bool {
	var x, y any
	return yaml.Unmarshal([]byte(a), &x) == nil && yaml.Unmarshal([]byte(b), &y) == nil && reflect.DeepEqual(x, y)
}
