package runner

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/pegbook/pegbook/runner/event"
	"github.com/pegbook/pegbook/runner/vars"
)

func TestSkippedResultIsItsData(t *testing.T) {
	res := &result{status: event.Skipped, passed: true}
	assert.Equal(t, string(res.data().JSON()), string(res.json()))
	res.set("more", vars.Of(1))
	assert.Equal(t, string(res.data().JSON()), string(res.json()))
}
