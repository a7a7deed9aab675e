package builtin

import (
	"context"
	"errors"

	"github.com/pegbook/pegbook/modules"
)

// Ping tries a host's connection.
func Ping() *modules.Module {
	return modules.Define("ping", `See whether a host can be reached and worked on

Connects, and asks the host one thing. It is no ICMP ping: what works here works for other modules.

    - name: everybody there
      ping:`, proposePing)
}

type pingArgs struct {
	Data string `arg:"data" default:"pong" doc:"what is answered; crash fails the task"`
}

type pong struct {
	Ping string `json:"ping"`
}

func proposePing(ctx context.Context, call *modules.Call, args pingArgs) (*modules.Proposal, error) {
	if args.Data == "crash" {
		return nil, errors.New("crash was asked for")
	}
	if _, err := call.Host.Look(ctx, modules.Query{Path: "/"}); err != nil {
		return nil, err
	}
	return &modules.Proposal{Output: pong{args.Data}}, nil
}
