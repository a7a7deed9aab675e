//go:build wire

package modtest

import (
	"context"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/plugins"
)

// through is how a module under test is reached: across the wire, as if it came from a plugin.
func through(t TB, m *modules.Module) *modules.Module {
	t.Helper()
	p, err := plugins.Loopback(t.Context(), plugins.Options{}, m)
	if err != nil {
		t.Fatalf("behind the wire: %v", err)
	}
	context.AfterFunc(t.Context(), func() { _ = p.Close() })
	return p.Modules()[0]
}
