package runner

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/modtest"
	"github.com/pegbook/pegbook/runner/lock"
)

// lostLock is one that somebody else has by now.
type lostLock struct{ lock.Held }

var errLost = errors.New("somebody else has it")

func (lostLock) Ready(context.Context) error { return errLost }

// TestItemsThatAreDoneTogetherAreNotDoneWithoutTheLock, just as single ones are not: hosts that the new holder has not
// come to yet would not refuse them.
func TestItemsThatAreDoneTogetherAreNotDoneWithoutTheLock(t *testing.T) {
	machine := modtest.NewMachine("h1")
	x := &prepared{host: &lazyHost{name: "h1", open: func(context.Context) (modules.Host, error) { return machine, nil }}}
	pr := &playRun{lock: &runLock{held: lostLock{}}}
	b := &bunch{step: &step{rowRun: &rowRun{r: &run{}, lane: &lane{playRun: pr}}}}
	var turns []*turn
	for _, path := range []string{"/srv/a", "/srv/b"} {
		turns = append(turns, &turn{x: x, res: &result{}, proposal: &modules.Proposal{Changes: []modules.Change{{Kind: modules.MakeDirectory, Path: path}}}})
	}
	before := machine.Snapshot()
	b.act(t.Context(), turns)
	assert.Equal(t, before, machine.Snapshot())
	for _, turn := range turns {
		assert.ErrorIs(t, turn.err, errLost)
	}
}
