// Package connect opens managed hosts: over SSH, or the control node itself. It is the only package
// that knows SSH. One connection a host and run, a helper on the host behind it (package helper), and a
// second helper for each user that tasks become.
//
// Host keys are checked always. A connection that breaks breaks every request in flight with
// *modules.UnreachableError, and the next Open dials anew; the helper, when its connection dies, ends what
// it had started.
package connect

import (
	"context"
	"log/slog"
	"time"
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
	// KeepAlive is how often an idle connection is asked whether it lives; 0 is what the ssh configuration
	// says (ServerAliveInterval), or Options.KeepAlive.
	KeepAlive time.Duration
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
	// KeepAlive is how often an idle connection is asked whether it lives; 0 is 15 s. A host that does
	// not answer three times is unreachable; a helper that hears nothing four times ends itself.
	KeepAlive time.Duration
	// Ask asks for passphrases and passwords that are needed and not given; nil never asks.
	Ask Prompt
	// Log takes what happens on connections, for developers; nil discards it.
	Log *slog.Logger
}
