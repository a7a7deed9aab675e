package journal

import (
	"encoding/json"
	"fmt"
	"time"
)

// schema is the version of what a run's folder holds.
const schema = 2

// Meta is what a run was started with.
type Meta struct {
	Schema int    `json:"schema"`
	Run    string `json:"run"`
	// Dir is the folder in which the run was started.
	Dir       string   `json:"dir"`
	Playbooks []string `json:"playbooks"`
	Inventory []string `json:"inventory,omitempty"`
	Limit     []string `json:"limit,omitempty"`
	Tags      []string `json:"tags,omitempty"`
	SkipTags  []string `json:"skip_tags,omitempty"`
	Check     bool     `json:"check,omitempty"`
	// RollsBack is the run that this one takes back; Forced says that it does so whatever has changed since.
	RollsBack string `json:"rolls_back,omitempty"`
	Forced    bool   `json:"forced,omitempty"`
	// Plan is the SHA-256 of the plan: two runs with the same would have done the same steps.
	Plan   string  `json:"plan"`
	Inputs []Input `json:"inputs,omitempty"`
	// Sessions are the times that the run was started and gone on with.
	Sessions []Session `json:"sessions"`
	// Sealed is Private, sealed.
	Sealed []byte `json:"sealed,omitempty"`
	// Sum is the checksum of all that.
	Sum string `json:"sum"`
}

// checksum is what Sum must be.
func (m Meta) sum() (string, error) {
	m.Sum = ""
	raw, err := json.Marshal(m)
	return fmt.Sprintf("crc32c:%08x", checksum(0, raw)), err
}

// blocks is how many blocks a file had when a session ended in good order; 0 when none did.
func (m Meta) blocks(file string) uint32 {
	var most uint32
	for _, s := range m.Sessions {
		if s.End != nil {
			most = max(most, s.End.Blocks[file])
		}
	}
	return most
}

// Session is one process that carried the run on.
type Session struct {
	// Argv is the command as it was typed, without the values of variables.
	Argv    []string  `json:"argv"`
	User    string    `json:"user"`
	Host    string    `json:"host"` // the control node
	PID     int       `json:"pid"`
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	// End is missing while the process goes on, and where it could not say how it ended.
	End *End `json:"end,omitempty"`
}

// End is how a session ended.
type End struct {
	Time     time.Time `json:"time"`
	ExitCode int       `json:"exit_code"`
	Message  string    `json:"message,omitempty"`
	// Hosts is how many hosts took part, Changed and Lost how many of them were changed, or failed or unreachable.
	Hosts   int `json:"hosts"`
	Changed int `json:"changed"`
	Lost    int `json:"lost"`
	// Blocks is how many blocks each file had: one that has fewer was cut.
	Blocks map[string]uint32 `json:"blocks"`
}

// Input is a file, or what stands for one, that a run has read.
type Input struct {
	// What it is for: playbook, inventory, variables, template, file.
	What string `json:"what"`
	// Path is the file's, as the run found it; for what is no file, what people call it.
	Path string `json:"path"`
	// Digest is the SHA-256 of the content in hexadecimal; of what could be guessed (variables on the command line,
	// what an inventory script has printed) a keyed one, with "hmac:" before it.
	Digest string `json:"digest"`
	Bytes  int64  `json:"bytes"`
}

// Private is what a run was started with that may hold secrets.
type Private struct {
	// Argv is the whole command.
	Argv []string `json:"argv"`
	// Env are the settings of pegbook that stood in the environment, as NAME=value.
	Env []string `json:"env,omitempty"`
	// Limit is what the limit said when the run was started, where files said it.
	Limit []string `json:"limit,omitempty"`
}

func (h *Home) sealPrivate(run string, p Private) ([]byte, error) {
	raw, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	return h.key.seal("private|"+run, raw), nil
}

func (h *Home) unsealPrivate(m Meta) (Private, error) {
	var p Private
	raw, err := h.key.unseal("private|"+m.Run, m.Sealed)
	if err != nil {
		return p, err
	}
	return p, json.Unmarshal(raw, &p)
}

// Started is when the run was first started.
func (m Meta) Started() time.Time {
	if len(m.Sessions) == 0 {
		return time.Time{}
	}
	return m.Sessions[0].Started
}

// Last is the session that carried the run on last.
func (m Meta) Last() Session {
	if len(m.Sessions) == 0 {
		return Session{}
	}
	return m.Sessions[len(m.Sessions)-1]
}
