package system

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/modtest"
)

// recording is a case of testdata/ansible.json: what Ansible's module did to a file (record.py).
type recording struct {
	Name, Module  string
	Args          map[string]json.RawMessage
	Before, After *string
	Changed       bool
}

// What Ansible's modules do to a file is what these do, apart from spaces at the ends of lines.
func TestFilesAreEditedAsAnsibleEditsThem(t *testing.T) {
	raw, err := os.ReadFile("testdata/ansible.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []recording
	if err := json.Unmarshal(raw, &all); err != nil {
		t.Fatal(err)
	}
	const file = "/etc/edited/file"
	for _, c := range all {
		t.Run(c.Name, func(t *testing.T) {
			short := c.Module[strings.LastIndexByte(c.Module, '.')+1:]
			i := slices.IndexFunc(All(), func(m *modules.Module) bool { return m.Name == short })
			if i < 0 {
				t.Fatalf("there is no module %s", short)
			}
			args, err := json.Marshal(c.Args)
			if err != nil {
				t.Fatal(err)
			}
			host := accountHost(t).Mkdir("/etc/edited")
			if c.Before != nil {
				host.Write(file, *c.Before)
			}
			r := once(t, All()[i], strings.ReplaceAll(string(args), "@FILE@", file), host, modtest.Setup{})
			equal(t, "changed", len(r.Diff) > 0, c.Changed)
			there := host.File(file).Kind != modules.Missing
			equal(t, "the file is there", there, c.After != nil || c.Before == nil && !c.Changed)
			if c.After != nil {
				equal(t, "the file", tidy(host.Content(file)), tidy(better(c.Name, *c.After)))
			}
		})
	}
}

// better are files that differ from Ansible's for a reason.
func better(name, after string) string {
	if name == "limit new" { // Ansible gives a new line the comment of another one
		return strings.TrimSuffix(after, "\t# files\n\n") + "\n"
	}
	return after
}

func tidy(text string) string {
	var all []string
	for _, line := range lines(text) {
		all = append(all, strings.TrimRight(line, " "))
	}
	return unlines(all)
}
