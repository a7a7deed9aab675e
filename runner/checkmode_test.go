package runner

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestTasksInCheckModeOfARealRunSeeWhatIs(t *testing.T) {
	r := runFiles(t, `
-- site.yml --
- hosts: h1
  gather_facts: false
  tasks:
    - {name: would make it, touch: {path: /a}, check_mode: true}
    - {name: builds on that, touch: {path: /a}, check_mode: true}
    - {name: acts, touch: {path: /b}}
    - {name: is not there after all, touch: {path: /a}, check_mode: true}
    - {name: is there, touch: {path: /b}, check_mode: true}
`, nil)
	assert.Equal(t, []string{"would make it h1 changed", "builds on that h1 ok", "acts h1 changed",
		"is not there after all h1 changed", "is there h1 ok"}, r.done())
}

func TestRealTasksOfACheckModeRunAreSeen(t *testing.T) {
	r := runFiles(t, `
-- site.yml --
- hosts: h1
  gather_facts: false
  tasks:
    - {name: predicted, touch: {path: /a}}
    - {name: real, touch: {path: /b}, check_mode: false}
    - {name: seen, touch: {path: /b}}
    - {name: still predicted, touch: {path: /a}}
`, func(_ *Inputs, o *Options) { o.Check = true })
	assert.Equal(t, []string{"predicted h1 changed", "real h1 changed", "seen h1 ok", "still predicted h1 ok"}, r.done())
}
