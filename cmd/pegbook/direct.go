//go:build !wire

package main

import "github.com/pegbook/pegbook/modules"

// reached is how pegbook's own modules are used: as they are. Built with the tag wire they are behind the wire of
// plugins, for the tests.
func reached(all []*modules.Module) []*modules.Module { return all }
