package runner

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAnIncludeThatNeverEndsFails(t *testing.T) {
	r := runFiles(t, `
-- site.yml --
- hosts: h1
  gather_facts: false
  tasks:
    - include_tasks: again.yml
-- again.yml --
- include_tasks: again.yml
`, nil)
	done := r.done()
	require.Len(t, done, 1)
	assert.Contains(t, done[0], "again.yml:1:3: 200 includes stand in one another")
	assert.Equal(t, 2, r.ExitCode())
}

func TestAnIncludeMayIncludeItselfForAWhile(t *testing.T) {
	r := runFiles(t, `
-- site.yml --
- hosts: h1
  gather_facts: false
  vars: {left: 100}
  tasks:
    - include_tasks: again.yml
-- again.yml --
- {name: counts, set_fact: {left: "{{ sub .left 1 }}"}}
- include_tasks: again.yml
  when: gt .left 0
`, nil)
	assert.Equal(t, 0, r.ExitCode())
	assert.Equal(t, 200, r.Recap["h1"].OK, "100 times counted, 100 times included")
}

func TestTheSameItemAgainIsGoneThroughByAllHostsTogether(t *testing.T) {
	var asked []string
	runFiles(t, `
-- site.yml --
- hosts: h1,h2
  gather_facts: false
  tasks:
    - {include_tasks: some.yml, loop: [1, 2, 2]}
-- some.yml --
- {name: some, say: "{{ .item }}"}
`, func(_ *Inputs, o *Options) {
		o.Step = func(_ context.Context, task string) (Leave, error) {
			asked = append(asked, task)
			return LeaveOne, nil
		}
	})
	assert.Equal(t, []string{"include_tasks", "some", "some", "some"}, asked)
}
