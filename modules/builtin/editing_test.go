package builtin

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/modtest"
)

// recordedEdit is what ansible-core made of a task; testdata/record-edits.py writes them.
type recordedEdit struct {
	Module          string
	Args            map[string]json.RawMessage
	Before, After   *string
	Failed, Changed bool
	Msg             string
}

// Decided differences, by module and arguments: what is refused here and not there, and why.
func refusedHere() map[string]string {
	return map[string]string{
		`lineinfile {"line":"x","regexp":"^a(?=b)"}`: "lookahead",
		`replace {"regexp":"a(?!b)","replace":"x"}`:  "lookahead",
	}
}

func TestEditsAreThoseOfAnsible(t *testing.T) {
	raw, err := os.ReadFile("testdata/edits.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []recordedEdit
	if err := json.Unmarshal(raw, &cases); err != nil {
		t.Fatal(err)
	}
	edits := map[string]*modules.Module{"lineinfile": LineInFile(), "blockinfile": BlockInFile(), "replace": Replace()}
	for _, c := range cases {
		args, err := json.Marshal(c.Args)
		if err != nil {
			t.Fatal(err)
		}
		name := c.Module + " " + string(unescaped(args))
		t.Run(name, func(t *testing.T) {
			c.Args["path"] = json.RawMessage(`"/srv/f"`)
			args, err := json.Marshal(c.Args)
			if err != nil {
				t.Fatal(err)
			}
			host := machine().Mkdir("/srv")
			if c.Before != nil {
				host.Write("/srv/f", *c.Before)
			}
			why := refusedHere()[name]
			if c.Failed || why != "" {
				modtest.Errors(t, edits[c.Module], []modtest.ErrorCase{{Name: "refused", Args: string(args), Host: host, Want: why}})
				return
			}
			compareEdit(t, edits[c.Module], string(args), host, c)
		})
	}
}

// unescaped undoes what encoding/json escapes for the sake of web pages.
func unescaped(raw []byte) []byte {
	return []byte(strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(string(raw)))
}

func compareEdit(t *testing.T, m *modules.Module, args string, host *modtest.Machine, c recordedEdit) {
	t.Helper()
	// Several of these change something at each run, with Ansible as well.
	r := once(t, m, args, host, modtest.Setup{Repeats: true})
	equal(t, "changed", len(r.Diff) > 0, c.Changed)
	equal(t, "there", host.File("/srv/f").Kind != modules.Missing, c.After != nil)
	if c.After != nil {
		equal(t, "the file", fmt.Sprintf("%q", host.Content("/srv/f")), fmt.Sprintf("%q", *c.After))
	}
	if !strings.HasPrefix(c.Msg, "Pattern for") && !strings.HasSuffix(c.Msg, "not present") {
		equal(t, "msg", r.Get("msg"), fmt.Sprintf("%q", c.Msg))
	}
}
