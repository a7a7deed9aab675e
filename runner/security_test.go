package runner

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/pegbook/pegbook/modules"
)

// TestFactsAreNoWayToAHost lets a host say how it is to be reached, and as whom.
func TestFactsAreNoWayToAHost(t *testing.T) {
	lies := map[string]json.RawMessage{"told": json.RawMessage(`"yes"`)}
	for name, lie := range map[string]string{"ansible_host": `"h9"`, "ansible_port": "1", "ansible_user": `"eve"`, "ansible_connection": `"local"`,
		"ansible_become": "true", "ansible_become_user": `"eve"`, "ansible_become_exe": `"/tmp/sudo"`, "ansible_ssh_host": `"h9"`} {
		lies[name] = json.RawMessage(lie)
	}
	r := runFiles(t, `
-- site.yml --
- hosts: h1
  gather_facts: false
  tasks:
    - lies:
    - meta: reset_connection
    - touch: {path: /x}
    - say: "{{ .told | default 0 }}"
`, func(in *Inputs, _ *Options) {
		in.Modules = NewSet(append(testModules().All(), modules.Define("lies", "Lie.", func(context.Context, *modules.Call, struct{}) (*modules.Proposal, error) {
			return &modules.Proposal{Facts: lies, FactRank: modules.RankFound}, nil
		}))...)
	})
	assert.Equal(t, []string{"h1"}, r.machines.opened, "hosts and users")
	assert.Equal(t, 0, r.ExitCode())
	assert.Contains(t, r.done(), "say h1 ok yes", "other facts are taken")
}
