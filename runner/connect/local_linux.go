package connect

import (
	"bufio"
	"context"
	"net"
	"sync/atomic"
	"time"

	"github.com/pegbook/pegbook/runner/connect/helper"
)

// localMux serves the control node itself: the helper's code, in this process. That starts in no time
// and needs no helper program.
func localMux(ctx context.Context, trips *atomic.Int64) (*mux, error) {
	ours, theirs := net.Pipe()
	served := make(chan struct{})
	// It serves the run, not the task that happened to be first.
	go func() {
		defer close(served)
		_ = helper.Serve(context.WithoutCancel(ctx), theirs, theirs, 0)
		theirs.Close()
	}()
	return newMux(bufio.NewReaderSize(ours, 4<<10), ours, trips, func() {
		ours.Close()
		// This process may be about to end, and what it runs has to end first.
		select {
		case <-served:
		case <-time.After(cancelWait):
		}
	}), nil
}
