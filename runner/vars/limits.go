package vars

import (
	"errors"
	"fmt"
	"strings"

	"github.com/pegbook/pegbook/runner/diag"
)

// Bounds on what one template may do, so that a slip cannot take the control node down.
const (
	maxOutput     = 64 << 20 // bytes of a text, and of what is made into one
	maxIterations = 1_000_000
	maxDepth      = 100
	maxNested     = 1000 // of lists and mappings
	// maxNesting is how deep blocks may stand in one another, maxAction how long one action may be: the parser
	// goes down into them and has no bounds of its own.
	maxNesting = 500
	maxAction  = 64 << 10
	// maxWork bounds an evaluation with all that it leads to, in units of a few nanoseconds; some seconds in all.
	maxWork       = 1_000_000_000
	iterationWork = 50
	callWork      = 200
	bytesPerWork  = 2
)

// evaluation is what an evaluation has come to, with all variables, templates and hosts that it has led to.
type evaluation struct {
	sample bool // of Sample
	work   int
	// steady makes it an error to use a function that gives something else each time.
	steady bool
	// unsteady is the first use of a function that gives something else each time.
	unsteady *unsteadyUse
}

// unsteadyUse is a call of a function that gives something else each time.
type unsteadyUse struct {
	prog *program
	off  int
	name string
}

// ErrUnsteady is what an error about a function that gives something else each time is.
var ErrUnsteady = errors.New("gives something else each time")

func (u *unsteadyUse) fail() error {
	return &Error{
		Diagnostic: diag.Diagnostic{
			Position: u.prog.position(u.off),
			Problem:  u.name + " " + ErrUnsteady.Error() + ", so the task would change its host at each run",
			Hint:     "take the value once with set_fact, or give the task volatile: true",
		},
		Expression: u.prog.src.expression(u.off, u.prog.delims),
		cause:      ErrUnsteady,
	}
}

// errTooMuch is what an error about a bound is: nothing more is tried then.
var errTooMuch = errors.New("too much")

// spend counts work in; more than maxWork is an error.
func (f *frame) spend(work, off int) error {
	f.trail.evaluation.work += work
	if f.trail.evaluation.work > maxWork {
		return f.fail(off, errTooMuch, "loops over large lists, one inside of another, are the usual reason", "the template does too much work")
	}
	return nil
}

// bounded checks a value that is about to be worked on in full: values that share their parts may be far larger
// than the memory that they take.
func (f *frame) bounded(v any, off int) error {
	size := measure(v, maxOutput, 0)
	if size > maxOutput {
		return f.tooLarge(off)
	}
	return f.spend(size/bytesPerWork, off)
}

func (f *frame) tooLarge(off int) error {
	return f.fail(off, errTooMuch, "", fmt.Sprintf("the value is larger than %d MiB, or nested more than %d deep", maxOutput>>20, maxNested))
}

// measure is about how many bytes a value takes as text; it does not count on beyond most. One that is nested too
// deep is beyond any size.
func measure(v any, most, depth int) int {
	if depth > maxNested {
		return maxOutput + 1
	}
	size := 2
	switch v := v.(type) {
	case string:
		return len(v) + size
	case []any:
		for _, e := range v {
			if size += 2 + measure(e, most-size, depth+1); size > most {
				break
			}
		}
		return size
	case map[string]any:
		for k, e := range v {
			if size += 6 + len(k) + measure(e, most-size, depth+1); size > most {
				break
			}
		}
		return size
	}
	return 8
}

// shallow is the work of copying a list or mapping.
func shallow(v any) int {
	switch v := v.(type) {
	case []any:
		return len(v)
	case map[string]any:
		return 4 * len(v)
	}
	return 0
}

// product refuses a text of n times some bytes that would be too long.
func product(n, bytes int) error {
	if n > 0 && bytes > maxOutput/n {
		return fmt.Errorf("the text would be longer than %d MiB", maxOutput>>20)
	}
	return nil
}

// tooDeep finds what the parser must not be given.
func tooDeep(src *source, delims [2]string, problems *diag.List) bool {
	var chain []int // of each open block: itself and its else ifs
	depth := 0
	for at := 0; ; {
		i := strings.Index(src.text[at:], delims[0])
		if i < 0 {
			return false
		}
		at += i + len(delims[0])
		end := strings.Index(src.text[at:], delims[1])
		if end < 0 {
			end = len(src.text) - at
		}
		if end > maxAction {
			problems.Add(src.position(at), "take it apart with variables", "the action is longer than %d KiB", maxAction>>10)
			return true
		}
		words := strings.Fields(strings.TrimLeft(src.text[at:at+min(end, 100)], "- \t\r\n"))
		switch {
		case len(words) == 0:
		case opensBlock(words[0]):
			chain = append(chain, 1)
			depth++
		case words[0] == "else" && len(words) > 1 && opensBlock(words[1]) && len(chain) > 0:
			chain[len(chain)-1]++
			depth++
		case words[0] == "end" && len(chain) > 0:
			depth -= chain[len(chain)-1]
			chain = chain[:len(chain)-1]
		}
		if depth > maxNesting {
			problems.Add(src.position(at), "", "blocks stand in one another more than %d deep", maxNesting)
			return true
		}
	}
}

func opensBlock(word string) bool {
	switch word {
	case "if", "range", "with", "block", "define":
		return true
	}
	return false
}
