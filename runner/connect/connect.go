// Package connect opens managed hosts: over SSH, or the control node itself. It is the only package
// that knows SSH. One connection a host and run, a helper on the host behind it (package helper), and a
// second helper for each user that tasks become.
package connect

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/pegbook/pegbook/modules"
)

// Address is how a host is reached, from its connection variables (ansible_host and so on). Zero
// values leave a thing to the user's ssh configuration and its defaults.
type Address struct {
	Name       string // the inventory's name, for messages
	Connection string // "ssh" (also "") or "local"
	Host       string // "" is Name
	Port       int
	User       string
	Password   string
	KeyFiles   []string
	// JumpHosts are user@host:port, as in ProxyJump, in order.
	JumpHosts []string
	// ConfigFile is the ssh configuration to read; "" is ~/.ssh/config and /etc/ssh/ssh_config, "none" is none.
	ConfigFile string
	// KnownHosts are files of host keys; none is the ssh configuration's.
	KnownHosts []string
	// AcceptNewHostKeys takes and remembers the key of a host that is in no known_hosts file. A key that
	// has changed is refused always.
	AcceptNewHostKeys bool
	// Timeout bounds connecting, all attempts together; 0 is 30 s.
	Timeout time.Duration
	// Retries is how often a failed connect is tried again; 0 is 3, negative is none.
	Retries int
	// TempDir is where the helper is kept on the host; "" is the user's cache folder (ansible_remote_tmp).
	TempDir string
}

// Become is acting as another user. The zero value is not to.
type Become struct {
	User   string // "" is not to become anybody
	Method string // "sudo" (also ""), "su", "doas"
	// Password is asked by the method; it is sent on the connection, never in an argument.
	Password string
	Exe      string
	Flags    string
}

// Prompt asks the person at the terminal for a secret. It returns an error where there is no terminal.
type Prompt func(ctx context.Context, question string) (string, error)

// Options are for all connections of a run.
type Options struct {
	// Dials is how many connections are being made at a time; 0 is 32. Through one address (a bastion,
	// or many hosts behind one) never more than 5.
	Dials int
	// Ask asks for passphrases and passwords that are needed and not given; nil never asks.
	Ask Prompt
	// Log takes what happens on connections, for developers; nil discards it.
	Log *slog.Logger
}

// Pool keeps the run's connections. It is safe for concurrent use.
type Pool struct{}

// NewPool makes an empty pool. Nothing is dialled before a host is used.
func NewPool(o Options) *Pool { panic("skeleton") }

// Open gives the host for a user. It connects, or waits for the connection that another task is
// making. After a connection broke the next Open dials anew. Errors are *modules.UnreachableError.
func (p *Pool) Open(ctx context.Context, a Address, b Become) (modules.Host, error) {
	panic("skeleton")
}

// Reset closes a host's connection; the next Open dials anew (meta: reset_connection).
func (p *Pool) Reset(a Address) { panic("skeleton") }

// RoundTrips is how many requests have been sent to a host's helpers since it was opened.
func (p *Pool) RoundTrips(a Address) int { panic("skeleton") }

// Close ends every helper and connection.
func (p *Pool) Close() error { panic("skeleton") }

var _ io.Closer = (*Pool)(nil)
