package wire

// JobAct is what is to be done about a job.
type JobAct byte

// Acts. StartJob gives the state of a job that is there already instead of starting another.
const (
	StartJob JobAct = 1 + iota
	AskJob
	ForgetJob
)

// JobRequest is about the job called ID. Limit (nanoseconds) and Command are for StartJob; the command's
// input travels in it, not streamed.
type JobRequest struct {
	Act     JobAct
	ID      string
	Limit   int64
	Command Command
}

// JobState is how a job stands. Known is false for one that was never started, or was forgotten. A job that
// is neither Running nor Finished is lost: its process is gone, and nobody wrote down how it ended.
type JobState struct {
	Known, Running, Finished bool
	// TimedOut is a job that took longer than its limit, and was ended.
	TimedOut bool
	// Argv is the command; Path the folder that holds the job.
	Argv []string
	Path string
	// Result is, of a job that finished in time, what Run would have answered.
	Result []byte
}

// AppendJob appends a Job request to b, ParseJob reads it.
func AppendJob(b []byte, j *JobRequest) []byte {
	e := encoder{append(b, byte(Job))}
	e.uint(uint64(j.Act))
	e.string(j.ID)
	e.int(j.Limit)
	e.command(&j.Command)
	return e.b
}

// ParseJob reads what AppendJob wrote after the Op byte.
func ParseJob(b []byte) (*JobRequest, error) {
	d := decoder{b: b}
	j := &JobRequest{Act: JobAct(d.uint()), ID: d.string(), Limit: d.int()}
	j.Command = *d.command()
	return j, d.end()
}

// AppendJobState appends the answer to Job.
func AppendJobState(b []byte, s *JobState) []byte {
	e := encoder{append(b, 0)}
	e.flags(s.Known, s.Running, s.Finished, s.TimedOut)
	e.strings(s.Argv)
	e.string(s.Path)
	e.bytes(s.Result)
	return e.b
}

// ParseJobState reads the answer to Job; a refusal is *Error.
func ParseJobState(b []byte) (*JobState, error) {
	d, err := answer(b)
	if err != nil {
		return nil, err
	}
	s := &JobState{}
	d.flags(&s.Known, &s.Running, &s.Finished, &s.TimedOut)
	s.Argv, s.Path, s.Result = d.strings(), d.string(), d.bytes()
	return s, d.end()
}
