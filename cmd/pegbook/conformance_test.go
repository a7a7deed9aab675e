package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/runner/event"
)

// TestConformance runs small playbooks and compares what belongs to a playbook's author (tasks, hosts, statuses,
// items, attempts, messages, recap, exit code, files) with what ansible-core made of them. The cases and their
// format are described in testdata/conformance/README.md. A case that docs/ansible-differences.json lists must
// differ; any other must not.
func TestConformance(t *testing.T) {
	listed := differences(t)
	dirs, err := filepath.Glob(filepath.Join("testdata", "conformance", "*", "*"))
	require.NoError(t, err)
	var tally tally
	t.Run("cases", func(t *testing.T) {
		for _, dir := range dirs {
			name := filepath.Base(dir)
			number, _, _ := strings.Cut(name, "-")
			if _, err := os.Stat(filepath.Join(dir, "case.json")); err != nil {
				continue
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				c := readCase(t, dir)
				difference := c.run(t)
				reason, differs := listed[number]
				tally.count(judged{c.Tier, name, difference != "", differs, reason})
				switch {
				case difference != "" && !differs:
					t.Errorf("%s\n%s: %s", difference, c.Rule, c.Title)
				case difference == "" && differs:
					t.Errorf("docs/ansible-differences.json lists %s (%s), but it agrees: take it off the list", number, reason)
				}
			})
		}
	})
	if conformanceTable() {
		tally.print()
	}
}

// conformanceTable says whether make conformance asked for the table.
func conformanceTable() bool { return slices.Contains(flag.Args(), "table") }

func differences(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "ansible-differences.json"))
	require.NoError(t, err)
	var listed map[string]string
	require.NoError(t, json.Unmarshal(text, &listed))
	return listed
}

// judged is a case that has run.
type judged struct {
	tier            int
	name            string
	differs, listed bool
	reason          string // of a case that is listed
}

func (j judged) verdict() string {
	switch {
	case !j.differs:
		return "agrees"
	case j.listed:
		return "differs on purpose: " + j.reason
	}
	return "DIFFERS"
}

// tally keeps what became of the cases.
type tally struct {
	mu    sync.Mutex // guards cases
	cases []judged
}

func (y *tally) count(j judged) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.cases = append(y.cases, j)
}

// print shows each case, then a table by tier.
func (y *tally) print() {
	slices.SortFunc(y.cases, func(a, b judged) int {
		return cmp.Or(cmp.Compare(a.tier, b.tier), cmp.Compare(a.name, b.name))
	})
	type counts struct{ agree, onPurpose, differ int }
	tiers := map[int]*counts{}
	fmt.Printf("%-4s  %-50s  %s\n", "tier", "case", "pegbook")
	for _, j := range y.cases {
		fmt.Printf("%-4d  %-50s  %s\n", j.tier, j.name, j.verdict())
		if tiers[j.tier] == nil {
			tiers[j.tier] = &counts{}
		}
		switch to := tiers[j.tier]; {
		case !j.differs:
			to.agree++
		case j.listed:
			to.onPurpose++
		default:
			to.differ++
		}
	}
	fmt.Println("\ntier  agree  differ on purpose  differ")
	for _, number := range slices.Sorted(maps.Keys(tiers)) {
		to := tiers[number]
		fmt.Printf("%-4d  %5d  %17d  %6d\n", number, to.agree, to.onPurpose, to.differ)
	}
}

// conformanceCase is one case: what to run and what ansible-core did.
type conformanceCase struct {
	Title, Rule, Compare string
	Tier, Forks          int
	Args                 []json.RawMessage
	Env                  map[string]json.RawMessage
	Inventory            []string // nil: inventory.yml, where the case has one
	Playbooks            []string

	dir  string
	want expected
}

// expected is what ansible-core did.
type expected struct {
	ExitCode int                     `json:"exit_code"`
	Recap    map[string]event.Counts `json:"recap"`
	Events   []ansibleEvent          `json:"events"`
	Files    map[string]string       `json:"files"`
}

func readCase(t *testing.T, dir string) *conformanceCase {
	t.Helper()
	c := &conformanceCase{dir: dir}
	for name, to := range map[string]any{"case.json": c, "expected.json": &c.want} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(text, to), name)
	}
	return c
}

// run carries the case out on a copy and gives the first difference; "" when it agrees.
func (c *conformanceCase) run(t *testing.T) string {
	t.Helper()
	home := t.TempDir()
	work := filepath.Join(home, "case")
	require.NoError(t, os.CopyFS(work, os.DirFS(c.dir)))
	require.NoError(t, os.Remove(filepath.Join(work, "case.json")))
	require.NoError(t, os.Remove(filepath.Join(work, "expected.json")))
	code, stdout, stderr := c.pegbook(t, home, work)
	if code != c.want.ExitCode {
		return fmt.Sprintf("exit code: want %d, have %d; it said:\n%s", c.want.ExitCode, code, stderr)
	}
	did, err := readRun(bytes.ReplaceAll(stdout, []byte(work), []byte("$CASE")))
	if err != nil {
		return err.Error()
	}
	if difference := c.compareEnd(did, code); difference != "" {
		return difference
	}
	for name, want := range c.want.Files {
		have, err := os.ReadFile(filepath.Join(work, name))
		if text := strings.ReplaceAll(string(have), work, "$CASE"); err != nil || text != want {
			return fmt.Sprintf("file %s: want %q, have %q (%v)", name, want, text, err)
		}
	}
	if c.Compare == "loose" {
		return ""
	}
	return firstDifference(inShape(didAnsible(c.want.Events), c.Compare), inShape(did.rows, c.Compare))
}

// pegbook runs the program as a user does, in the case's folder.
func (c *conformanceCase) pegbook(t *testing.T, home, work string) (int, []byte, string) {
	t.Helper()
	args := []string{"run", "--json", "--forks", strconv.Itoa(max(c.Forks, 1))}
	sources := c.Inventory
	if _, err := os.Stat(filepath.Join(work, "inventory.yml")); sources == nil && err == nil {
		sources = []string{"inventory.yml"}
	}
	for _, source := range sources {
		args = append(args, "-i", source)
	}
	for _, arg := range c.Args {
		args = append(args, scalarText(arg))
	}
	if len(c.Playbooks) == 0 {
		c.Playbooks = []string{"site.yml"}
	}
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
	defer stop()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "pegbook", append(args, c.Playbooks...)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = work, &stdout, &stderr
	cmd.Env = append(os.Environ(), "HOME="+home, "PEGBOOK_HOME="+filepath.Join(home, ".pegbook"), "NO_COLOR=1", "LC_ALL=C.UTF-8")
	for name, value := range c.Env {
		cmd.Env = append(cmd.Env, name+"="+scalarText(value))
	}
	err := cmd.Run()
	require.NoError(t, ctx.Err(), "the run does not end")
	if cmd.ProcessState == nil {
		require.NoError(t, err)
	}
	return cmd.ProcessState.ExitCode(), stdout.Bytes(), stderr.String()
}

// compareEnd compares exit code and recap.
func (c *conformanceCase) compareEnd(did conformanceRun, code int) string {
	switch {
	case did.exitCode == nil && code != 1:
		return "there is no run_done event"
	case did.exitCode != nil && *did.exitCode != code:
		return fmt.Sprintf("run_done says exit code %d, the process ended with %d", *did.exitCode, code)
	}
	for _, host := range slices.Sorted(maps.Keys(c.want.Recap)) {
		have, ok := did.recap[host]
		have.Unknown = 0 // Ansible has no such count
		if want := c.want.Recap[host]; !ok || have != want {
			return fmt.Sprintf("recap of %s: want %+v, have %+v", host, want, have)
		}
	}
	for _, host := range slices.Sorted(maps.Keys(did.recap)) {
		if _, ok := c.want.Recap[host]; !ok {
			return fmt.Sprintf("recap: there is a host %s", host)
		}
	}
	return ""
}

func scalarText(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	return string(raw)
}

// inShape groups rows as a case compares them: results of one task together, by host (strict), or each
// host's own way (per_host).
func inShape(rows []ranTask, compare string) []ranTask {
	rows = slices.Clone(rows)
	if compare == "per_host" {
		slices.SortStableFunc(rows, func(a, b ranTask) int { return cmp.Compare(a.said.host, b.said.host) })
		return rows
	}
	for i := 0; i < len(rows); {
		j := i + 1
		for j < len(rows) && rows[j].sameTask(rows[i]) {
			j++
		}
		slices.SortStableFunc(rows[i:j], func(a, b ranTask) int { return cmp.Compare(a.said.host, b.said.host) })
		i = j
	}
	return rows
}

func firstDifference(want, have []ranTask) string {
	for i := range min(len(want), len(have)) {
		if !want[i].fits(have[i]) {
			return fmt.Sprintf("step %d:\nwant %s\nhave %s", i+1, want[i], have[i])
		}
	}
	switch {
	case len(want) > len(have):
		return fmt.Sprintf("%d steps of %d; next wanted\n%s", len(have), len(want), want[len(have)])
	case len(want) < len(have):
		return fmt.Sprintf("%d steps instead of %d; next had\n%s", len(have), len(want), have[len(want)])
	}
	return ""
}
