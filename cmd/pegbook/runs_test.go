package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/runner/journal"
)

// Each field of what list, show and diff print under --json stands in the page about the output, and each that stands
// there is printed.
func TestTheJSONOfRunsIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/output.md")
	require.NoError(t, err)
	_, part, found := strings.Cut(string(page), "\n## `pegbook runs --json`\n")
	require.True(t, found)
	for heading, of := range map[string]any{
		"a run": runJSON{}, "one of `waits`": journal.Wait{}, "one of `sessions`": journal.Session{}, "`standing`": journal.Standing{}, "a difference": journal.Difference{},
	} {
		_, table, found := strings.Cut(part, "\n| of "+heading+" | |\n| --- | --- |\n")
		require.True(t, found, heading)
		table, _, _ = strings.Cut(table, "\n\n")
		var named []string
		for row := range strings.Lines(table) {
			names, text, _ := strings.Cut(strings.TrimPrefix(row, "|"), "|")
			for name := range strings.SplitSeq(names, ",") {
				named = append(named, strings.Trim(name, " `"))
			}
			for name, list := range listsOf(reflect.TypeOf(of)) {
				if named[len(named)-1] == name && name != "waits" && name != "sessions" {
					for _, field := range fieldsOf(list) {
						assert.Contains(t, text, "`"+field+"`", "%s of %s", name, heading)
					}
				}
			}
		}
		assert.ElementsMatch(t, fieldsOf(reflect.TypeOf(of)), named, heading)
	}
}

// fieldsOf are the names of a struct's fields as --json has them.
func fieldsOf(t reflect.Type) []string {
	var names []string
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			names = append(names, fieldsOf(f.Type)...)
		case name != "-" && name != "sealed" || t == reflect.TypeFor[journal.Standing](): // what is sealed is not printed
			names = append(names, name)
		}
	}
	return names
}

// listsOf are the structs in a struct's fields, by the names of these.
func listsOf(t reflect.Type) map[string]reflect.Type {
	all := map[string]reflect.Type{}
	for i := range t.NumField() {
		f := t.Field(i)
		of := f.Type
		for of.Kind() == reflect.Slice || of.Kind() == reflect.Pointer {
			of = of.Elem()
		}
		switch name, _, _ := strings.Cut(f.Tag.Get("json"), ","); {
		case f.Anonymous:
			for name, of := range listsOf(of) {
				all[name] = of
			}
		case of.Kind() == reflect.Struct && of.PkgPath() != "time":
			all[name] = of
		}
	}
	return all
}

// On a full disk a run starts nothing more, says why, and can be shown and gone on with: no step that has run is
// forgotten, none that has not run is remembered.
func TestAFullDiskEndsARunInGoodOrder(t *testing.T) {
	home, dir := t.TempDir(), t.TempDir()
	if err := syscall.Mount("tmpfs", home, "tmpfs", 0, "mode=0700,size=3m"); err != nil {
		t.Skip("no file system can be mounted here: ", err)
	}
	t.Cleanup(func() { assert.NoError(t, syscall.Unmount(home, syscall.MNT_DETACH)) })
	t.Chdir(dir)
	t.Setenv("PEGBOOK_HOME", home)
	var book strings.Builder
	book.WriteString("- hosts: all\n  gather_facts: false\n  tasks:\n")
	for i := range 60 {
		fmt.Fprintf(&book, "    - {name: step %d, shell: \"echo {{ .inventory_hostname }} %d >>%s/done; head -c 40000 /dev/urandom | base64 -w0\"}\n", i, i, dir)
	}
	require.NoError(t, os.WriteFile("site.yml", []byte(book.String()), 0o600))
	require.NoError(t, os.WriteFile("hosts.yml", []byte("all: {vars: {ansible_connection: local}, hosts: {h1: , h2: }}\n"), 0o600))
	pegbook := func(args ...string) (int, string) {
		var out bytes.Buffer
		code := run(context.Background(), args, streams{in: strings.NewReader(""), out: &out, err: &out}, nil)
		return code, out.String()
	}
	code, out := pegbook("run", "site.yml", "-i", "hosts.yml")
	assert.Equal(t, 130, code, "as the journal and run_done say")
	assert.Regexp(t, `(?m)^stopped on h1.*: the journal in \S+ cannot grow: no space left on device; make room first; to go on: pegbook runs resume \S+`, out)
	assert.NotRegexp(t, `(?m)^  failed `, out, "what was not begun has not failed")
	assert.NotContains(t, out, "step 59")

	done, err := os.ReadFile("done")
	require.NoError(t, err)
	steps := strings.Count(string(done), "\n")
	assert.Positive(t, steps)
	require.NoError(t, os.WriteFile(filepath.Join(home, "probe"), nil, 0o600))
	code, out = pegbook("runs", "show", "--json")
	require.Zero(t, code, out)
	var shown struct {
		State    string `json:"state"`
		Standing struct {
			Remembers int               `json:"remembers"`
			InFlight  []json.RawMessage `json:"in_flight"`
			Damage    []json.RawMessage `json:"damage"`
		} `json:"standing"`
	}
	require.NoError(t, json.Unmarshal([]byte(out), &shown))
	assert.Contains(t, []string{"failed", "interrupted"}, shown.State)
	assert.Equal(t, steps, shown.Standing.Remembers)
	assert.Empty(t, shown.Standing.InFlight)
	assert.Empty(t, shown.Standing.Damage)

	require.NoError(t, syscall.Mount("tmpfs", home, "tmpfs", syscall.MS_REMOUNT, "mode=0700,size=20m"))
	code, out = pegbook("runs", "resume")
	require.Zero(t, code, out)
	done, err = os.ReadFile("done")
	require.NoError(t, err)
	assert.Equal(t, 120, strings.Count(string(done), "\n"), "each step was done once")
}

// A result that is larger than what is reserved on a full disk is not kept: the run ends in good order all the same, and
// whoever goes on with it is told what nobody knows.
func TestALargeResultOnAFullDisk(t *testing.T) {
	home, dir := t.TempDir(), t.TempDir()
	if err := syscall.Mount("tmpfs", home, "tmpfs", 0, "mode=0700,size=1600k"); err != nil {
		t.Skip("no file system can be mounted here: ", err)
	}
	t.Cleanup(func() { assert.NoError(t, syscall.Unmount(home, syscall.MNT_DETACH)) })
	t.Chdir(dir)
	t.Setenv("PEGBOOK_HOME", home)
	book := `- hosts: all
  gather_facts: false
  tasks:
    - {name: first, command: echo first}
    - {name: large, shell: "echo x >>` + dir + `/large; head -c 3000000 /dev/urandom | base64 -w0", register: out}
    - {name: settle, pause: {seconds: 2}}
    - {name: after, shell: "echo after >>` + dir + `/after"}
`
	require.NoError(t, os.WriteFile("site.yml", []byte(book), 0o600))
	require.NoError(t, os.WriteFile("hosts.yml", []byte("all: {vars: {ansible_connection: local}, hosts: {h1: }}\n"), 0o600))
	pegbook := func(args ...string) (int, string) {
		var out bytes.Buffer
		code := run(context.Background(), args, streams{in: strings.NewReader(""), out: &out, err: &out}, nil)
		return code, out.String()
	}
	code, out := pegbook("run", "site.yml", "-i", "hosts.yml")
	assert.Equal(t, 130, code, out)
	assert.Contains(t, out, "make room first; to go on: pegbook runs resume")
	assert.NotContains(t, out, ".new-")
	assert.NoFileExists(t, "after")
	code, out = pegbook("runs", "show")
	require.Zero(t, code, out)
	assert.Contains(t, out, "interrupted in")
	assert.Contains(t, out, `"large", which had begun to change the host; how it ended was not kept`)
	code, out = pegbook("runs", "resume")
	assert.Equal(t, 1, code, "nobody knows whether it ended")
	assert.Contains(t, out, "large on h1")
	code, out = pegbook("runs", "resume", "--in-flight", "skip")
	require.Zero(t, code, out)
	assert.FileExists(t, "after")
	large, err := os.ReadFile("large")
	require.NoError(t, err)
	assert.Equal(t, "x\n", string(large))
}
