package event

// Rollback is what becomes of what a run has changed when that run is taken back; it comes before the run that does so.
type Rollback struct {
	Of   string `json:"of"`
	Back []Back `json:"back"`
}

// Kind is the record's "event".
func (Rollback) Kind() string { return "rollback" }

// Back is something that a run has changed: Way is put_back, stays or cannot; What says what, or why it cannot be put
// back. Refused says that the task which should put it back will fail.
type Back struct {
	Host    string `json:"host" secrets:"shown"`
	Task    string `json:"task"`
	Module  string `json:"module" secrets:"shown"`
	Way     string `json:"way" secrets:"shown"`
	What    string `json:"what"`
	Refused bool   `json:"refused,omitempty"`
}
