package modules

import (
	"fmt"
	"strings"
	"time"
)

// Progress is how far a module has come with what it does or waits for, in numbers that count down.
type Progress struct {
	// Phase is what is going on, in a few words that stay the same until the next phase: "primaries move".
	Phase string
	// Counts are what is left, in the order in which people want to read them.
	Counts []Count
	// Expects is how long the phase will take from now on; 0 where nobody can tell.
	Expects time.Duration
	// Detail is one line about what is waited for; empty for none.
	Detail string
}

// Count is how much of one kind is left.
type Count struct {
	// Name is a plural noun, "primaries".
	Name string `json:"name"`
	Left int    `json:"left"`
	// Of is how many there were at most; 0 where that is not known or does not matter.
	Of int `json:"of,omitempty"`
}

// String is the count for people: "primaries 3 of 12".
func (c Count) String() string {
	if c.Of > 0 {
		return fmt.Sprintf("%s %d of %d", c.Name, c.Left, c.Of)
	}
	return fmt.Sprintf("%s %d", c.Name, c.Left)
}

// JoinCounts is counts for people, in one line.
func JoinCounts(counts []Count) string {
	texts := make([]string, len(counts))
	for i, c := range counts {
		texts[i] = c.String()
	}
	return strings.Join(texts, ", ")
}

// String is the progress for people, in one line.
func (p Progress) String() string {
	text := p.Phase
	for _, more := range []string{JoinCounts(p.Counts), p.Detail} {
		if more != "" {
			text += ": " + more
		}
	}
	return text
}

// Progress tells whoever watches how far the module has come. It may be called from any goroutine, never with a
// secret, and is cheap to call often. Where nobody takes numbers it is a note.
func (c *Call) Progress(p Progress) {
	if c.Report == nil {
		c.Note("%s", p)
		return
	}
	c.Report(p)
}
