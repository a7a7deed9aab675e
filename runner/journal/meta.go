package journal

import (
	"encoding/json"
	"time"
)

// schema is the version of what a run's folder holds.
const schema = 1

// Meta is what a run was started with.
type Meta struct {
	Schema int    `json:"schema"`
	Run    string `json:"run"`
	// ResumedFrom is the run that this one goes on with.
	ResumedFrom string `json:"resumed_from,omitempty"`
	// Argv is the command as it was typed, without the values of variables.
	Argv []string `json:"argv"`
	// Dir is where it was typed.
	Dir       string    `json:"dir"`
	Playbooks []string  `json:"playbooks"`
	Inventory []string  `json:"inventory,omitempty"`
	Limit     []string  `json:"limit,omitempty"`
	Tags      []string  `json:"tags,omitempty"`
	SkipTags  []string  `json:"skip_tags,omitempty"`
	Check     bool      `json:"check,omitempty"`
	User      string    `json:"user"`
	Host      string    `json:"host"` // the control node
	PID       int       `json:"pid"`
	Version   string    `json:"version"`
	Started   time.Time `json:"started"`
	// Plan is the SHA-256 of the plan: two runs with the same would have done the same steps.
	Plan string `json:"plan"`
	// Sealed is Private, sealed.
	Sealed []byte `json:"sealed,omitempty"`
}

// Private is what a run was started with that may hold secrets.
type Private struct {
	// Argv is the whole command.
	Argv []string `json:"argv"`
	// Env are the settings of pegbook that stood in the environment, as NAME=value.
	Env []string `json:"env,omitempty"`
}

func (h *Home) sealPrivate(run string, p Private) ([]byte, error) {
	raw, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	return h.key.seal("private|"+run, raw), nil
}

func (h *Home) openPrivate(m Meta) (Private, error) {
	var p Private
	raw, err := h.key.unseal("private|"+m.Run, m.Sealed)
	if err != nil {
		return p, err
	}
	return p, json.Unmarshal(raw, &p)
}
