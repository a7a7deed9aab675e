//go:build !linux

package connect

import (
	"context"
	"errors"
	"runtime"
	"sync/atomic"
)

// localMux refuses: the helper is a program for Linux. Hosts over SSH are reached from any control node.
func localMux(context.Context, *atomic.Int64) (*mux, error) {
	return nil, errors.New("tasks on the control node itself need Linux, and this is " + runtime.GOOS + ": delegate them to a host of the inventory")
}
