package builtin

import (
	"context"
	"time"

	"github.com/pegbook/pegbook/modules"
)

// Pause lets time pass.
func Pause() *modules.Module {
	return modules.Define("pause", `Let time pass

Check mode does not wait. To wait for something use wait_for or wait_healthy; to wait for a person use
gate.

    - name: meta servers half a minute apart
      pause:
        seconds: 30`, proposePause)
}

type pauseArgs struct {
	Seconds float64 `arg:"seconds" min:"0" doc:"how long, in seconds"`
	Minutes float64 `arg:"minutes" min:"0" doc:"how long, in minutes, in place of seconds"`
	Prompt  string  `arg:"prompt" doc:"what to tell whoever watches meanwhile"`
}

type paused struct {
	Delta float64 `json:"delta"` // seconds
}

func proposePause(_ context.Context, call *modules.Call, args pauseArgs) (*modules.Proposal, error) {
	took := time.Duration(args.Seconds*float64(time.Second)) + time.Duration(args.Minutes*float64(time.Minute))
	if args.Seconds != 0 && args.Minutes != 0 {
		return nil, &modules.ArgumentError{Arg: "seconds", Problem: "the time is given twice", Hint: "give seconds or minutes"}
	}
	if took == 0 {
		return nil, &modules.ArgumentError{Arg: "seconds", Problem: "no time was given",
			Hint: "write seconds or minutes; a gate waits for a person"}
	}
	out := &paused{}
	return &modules.Proposal{
		Output:   out,
		Expects:  took,
		Predicts: map[string]string{}, // nothing is left behind, so check mode need not wait
		Do: func(ctx context.Context, _ modules.Host) error {
			started := time.Now()
			if args.Prompt != "" {
				call.Note("%s", args.Prompt)
			}
			call.Note("pauses for %s", took)
			err := sleep(ctx, took)
			out.Delta = time.Since(started).Round(time.Millisecond).Seconds()
			return err
		},
	}, nil
}

// sleep waits, or ends with ctx's cause.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
