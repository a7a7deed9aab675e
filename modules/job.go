package modules

import (
	"context"
	"errors"
	"time"
)

// Jobs is a host that keeps commands going while nobody is connected to it. A Host that comes from package
// connect is one.
type Jobs interface {
	// StartJob starts a command that goes on by itself. A job with the same ID that is there already is not
	// started again: whoever does not know whether the start came through asks for it once more.
	StartJob(ctx context.Context, job Job) (JobState, error)
	// Job gives the state of a job; one that is not there is fs.ErrNotExist.
	Job(ctx context.Context, id string) (JobState, error)
	// ForgetJob takes away what a job has left, and gives what its state was. One that still runs goes on.
	// Nothing there is no error.
	ForgetJob(ctx context.Context, id string) (JobState, error)
}

// Job is a command that goes on by itself, for Limit at most.
type Job struct {
	// ID is letters, digits and any of ._-
	ID      string
	Limit   time.Duration
	Command Command
}

// JobState is how a job stands.
type JobState struct {
	ID string
	// Argv is the command of a job that has finished.
	Argv []string
	// Running and Finished exclude each other. A job that is neither is lost: nobody knows how it ended.
	Running, Finished bool
	// TimedOut is a job that was ended at its limit.
	TimedOut bool
	// Path is the folder on the host that holds the job; empty where there is none.
	Path string
	// Output and Err are what Host.Run would have answered, of a job that finished within its limit.
	Output Output
	Err    error
}

// ErrStarted is what Host.Run answers where the command was started as a job that goes on by itself, so that
// its output is not there yet. A module passes it on.
var ErrStarted = errors.New("the command goes on as a job")
