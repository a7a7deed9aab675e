//go:build !linux

package config

import (
	"context"
	"errors"
)

// watch is left to looking again and again.
func watch(context.Context, string, func()) error { return errors.ErrUnsupported }
