//go:build wire

package main

import (
	"context"
	"sync"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/plugins"
)

// reached puts pegbook's own modules behind the wire of plugins, once for the process: playbooks must not be able to
// tell.
func reached(all []*modules.Module) []*modules.Module { return wired(all).Modules() }

var loopback struct {
	once sync.Once
	*plugins.Plugin
}

func wired(all []*modules.Module) *plugins.Plugin {
	loopback.once.Do(func() {
		p, err := plugins.Loopback(context.Background(), plugins.Options{}, plugins.Parts(all)...)
		if err != nil {
			panic("pegbook: " + err.Error())
		}
		loopback.Plugin = p
	})
	return loopback.Plugin
}
