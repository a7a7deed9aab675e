package builtin

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/pegbook/pegbook/modules"
)

// Assert checks conditions.
func Assert() *modules.Module {
	return modules.Define("assert", `Fail unless conditions hold

Each line of that is a bare expression, as in when. The task fails at the first that is false.

    - name: enough machines
      assert:
        that:
          - ge (len .groups.meta_server) 2
          - ge (len .groups.replica_server) 3
        fail_msg: a Pegasus cluster needs 2 meta and 3 replica servers`, proposeAssert)
}

type assertArgs struct {
	That       []modules.Expr `arg:"that,required" doc:"the conditions; all must hold"`
	FailMsg    string         `arg:"fail_msg,alias=msg" doc:"what to say when one does not"`
	SuccessMsg string         `arg:"success_msg" default:"All assertions passed" doc:"what to say when all do"`
	Quiet      bool           `arg:"quiet" doc:"whether to say nothing when all do"`
}

// AssertionError is a condition that does not hold.
type AssertionError struct {
	Assertion string
	// Message is what the task says about it; empty for nothing.
	Message string
}

// Error is what the task says, as it says it; without that it names the condition.
func (e *AssertionError) Error() string {
	if e.Message == "" {
		return fmt.Sprintf("%s does not hold", e.Assertion)
	}
	return e.Message
}

func proposeAssert(_ context.Context, call *modules.Call, args assertArgs) (*modules.Proposal, error) {
	for _, expr := range args.That {
		value, err := call.Eval(expr)
		if err != nil {
			return nil, err
		}
		var holds bool
		if err := json.Unmarshal(value, &holds); err != nil {
			return nil, fmt.Errorf("%s is %s, not true or false; compare it with something", expr, value)
		}
		if !holds {
			return nil, &AssertionError{Assertion: string(expr), Message: args.FailMsg}
		}
	}
	if args.Quiet {
		return &modules.Proposal{}, nil
	}
	return &modules.Proposal{Message: args.SuccessMsg}, nil
}
