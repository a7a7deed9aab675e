package connect

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestPatienceDoesNotCountPauses(t *testing.T) {
	late := errors.New("late")
	ctx, p := newPatience(t.Context(), 50*time.Millisecond, late)
	defer p.end()
	resume := p.pause()
	time.Sleep(120 * time.Millisecond)
	assert.NoError(t, ctx.Err(), "while it is paused")
	began := time.Now()
	resume()
	<-ctx.Done()
	assert.Equal(t, late, context.Cause(ctx))
	assert.GreaterOrEqual(t, time.Since(began), 20*time.Millisecond, "what was left when it was paused")
}

func TestPatienceEndsOnce(t *testing.T) {
	ctx, p := newPatience(t.Context(), time.Hour, errors.New("late"))
	p.end()
	assert.ErrorIs(t, context.Cause(ctx), context.Canceled)
	(*patience)(nil).pause()()
}
