// Package overlay is a host whose writes stay in memory, above another host. Check mode runs proposals
// against it, so that a later task sees the files and the state that an earlier one would have left.
// Above [Empty] it is an in-memory host for tests.
package overlay

import (
	"github.com/pegbook/pegbook/modules"
)

// Shared is state predicted for all hosts of a run: keys that start with "cluster/".
type Shared struct{}

// Overlay is the layer above one host. It is safe for concurrent use.
type Overlay struct{}

// New makes an empty layer above a host. shared may be nil.
func New(under modules.Host, shared *Shared) *Overlay { panic("skeleton") }

// Look is the host as Propose sees it: files of the layer over the host's, read-only commands run on
// the host, Dial reaches the cluster. Apply and commands that are not ReadOnly are refused with
// ErrUnpredicted: proposing changes nothing.
func (o *Overlay) Look() modules.Host { panic("skeleton") }

// Act is the host as Do sees it in check mode: Apply writes to the layer; a command with effects and
// Dial are ErrUnpredicted.
func (o *Overlay) Act() modules.Host { panic("skeleton") }

// Predict remembers what a proposal predicts.
func (o *Overlay) Predict(state map[string]string) { panic("skeleton") }
