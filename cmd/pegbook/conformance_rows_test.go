package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/pegbook/pegbook/runner/event"
)

// ranTask is a task on a host, as either program tells of it.
type ranTask struct {
	batch   int
	task    string
	handler bool
	said    said
}

// said is the part of a result that belongs to the playbook's author. What is not said is empty.
type said struct {
	host, status, delegatedTo, label string
	rc, attempts, index              string
	stdout, item, msg                string
	hasItem, hasMsg, ignored         bool
	items                            []said
}

// sameTask says whether two rows that follow one another are of one task.
func (r ranTask) sameTask(o ranTask) bool {
	return r.batch == o.batch && r.task == o.task && r.handler == o.handler
}

// fits says whether have is what is wanted. It may say more (the rc of a debug), never less and never otherwise.
func (r ranTask) fits(have ranTask) bool {
	return r.task == have.task && r.handler == have.handler && r.said.fits(have.said)
}

func (s said) fits(have said) bool {
	for _, pair := range [][2]string{
		{s.delegatedTo, have.delegatedTo}, {s.label, have.label}, {s.rc, have.rc}, {s.attempts, have.attempts},
		{s.index, have.index}, {s.stdout, have.stdout},
	} {
		if pair[0] != "" && pair[0] != pair[1] {
			return false
		}
	}
	switch {
	case s.host != have.host, s.status != have.status, s.ignored && !have.ignored:
		return false
	case s.hasItem && (!have.hasItem || s.item != have.item), s.hasMsg && (!have.hasMsg || s.msg != have.msg):
		return false
	case s.items == nil:
		return true
	case len(s.items) != len(have.items):
		return false
	}
	for i := range s.items {
		if !s.items[i].fits(have.items[i]) {
			return false
		}
	}
	return true
}

func (r ranTask) String() string {
	kind := "task"
	if r.handler {
		kind = "handler"
	}
	return fmt.Sprintf("%s %q: %s", kind, r.task, r.said)
}

func (s said) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", s.host, s.status)
	for _, f := range []struct{ name, value string }{
		{"delegated to", s.delegatedTo}, {"label", s.label}, {"rc", s.rc}, {"attempts", s.attempts}, {"index", s.index}, {"stdout", s.stdout},
	} {
		if f.value != "" {
			fmt.Fprintf(&b, ", %s %s", f.name, f.value)
		}
	}
	if s.ignored {
		b.WriteString(", ignored")
	}
	if s.hasItem {
		fmt.Fprintf(&b, ", item %s", s.item)
	}
	if s.hasMsg {
		fmt.Fprintf(&b, ", msg %q", s.msg)
	}
	for _, item := range s.items {
		fmt.Fprintf(&b, "\n    %s", item)
	}
	return b.String()
}

// resultFields are the fields of a result that both programs spell alike.
type resultFields struct {
	Host        string          `json:"host"`
	Task        string          `json:"task"`
	Status      string          `json:"status"`
	Ignored     bool            `json:"ignored"`
	DelegatedTo string          `json:"delegated_to"`
	Label       string          `json:"label"`
	Attempts    int             `json:"attempts"`
	Index       json.RawMessage `json:"index"`
	RC          json.RawMessage `json:"rc"`
	Stdout      json.RawMessage `json:"stdout"`
	Item        json.RawMessage `json:"item"`
	Msg         json.RawMessage `json:"msg"`
	Censored    json.RawMessage `json:"censored"`
}

// ansibleEvent is one event of a recorded run.
type ansibleEvent struct {
	E       string          `json:"e"`
	Include json.RawMessage `json:"include"`
	resultFields
}

// pegbookEvent is one line of pegbook run --json, as far as it is compared.
type pegbookEvent struct {
	Event    string                  `json:"event"`
	Handler  bool                    `json:"handler"`
	Items    []pegbookItem           `json:"items"`
	Recap    map[string]event.Counts `json:"recap"`
	ExitCode *int                    `json:"exit_code"`
	pegbookItem
}

type pegbookItem struct {
	resultFields
	Result json.RawMessage `json:"result"`
}

// engineWords are messages that are the engine's own.
func engineWords() *regexp.Regexp {
	return regexp.MustCompile(`All items completed|One or more items failed|All items skipped|non-zero return code|` +
		`All assertions passed|Command would have run|Would not run command|The arg spec|Assertion failed|Hello world!`)
}

func (f resultFields) said() said {
	s := said{host: f.Host, status: f.Status, ignored: f.Ignored, delegatedTo: f.DelegatedTo, label: f.Label,
		rc: given(f.RC), index: given(f.Index)}
	if f.Attempts > 1 {
		s.attempts = fmt.Sprint(f.Attempts)
	}
	s.stdout = spelt(f.Stdout)
	if given(f.Item) != "" {
		s.item, s.hasItem = spelt(f.Item), true
	}
	var text string
	if given(f.Msg) == "" || given(f.Censored) != "" || json.Unmarshal(f.Msg, &text) == nil && engineWords().MatchString(text) {
		return s
	}
	s.msg, s.hasMsg = spelt(f.Msg), true
	return s
}

// said takes what the event itself does not say from the result.
func (i pegbookItem) said() said {
	f, inner := i.resultFields, resultFields{}
	if json.Unmarshal(i.Result, &inner) == nil {
		for _, pair := range [][2]*json.RawMessage{{&f.RC, &inner.RC}, {&f.Stdout, &inner.Stdout}, {&f.Msg, &inner.Msg}} {
			if given(*pair[0]) == "" {
				*pair[0] = *pair[1]
			}
		}
	}
	return f.said()
}

func given(raw json.RawMessage) string {
	if string(raw) == "null" {
		return ""
	}
	return string(raw)
}

// spelt gives one spelling to what Python and Go print differently: words of JSON in texts, and how lists
// in brackets are quoted and spaced.
func spelt(raw json.RawMessage) string {
	if given(raw) == "" {
		return ""
	}
	var text string
	if json.Unmarshal(raw, &text) != nil {
		text = spaced(raw)
	}
	for _, word := range []struct{ python, json string }{{`\bTrue\b`, "true"}, {`\bFalse\b`, "false"}, {`\bNone\b|<nil>`, "null"}} {
		text = regexp.MustCompile(word.python).ReplaceAllString(text, word.json)
	}
	text = regexp.MustCompile(`\[[^\[\]]*\]`).ReplaceAllStringFunc(text, func(list string) string {
		list = strings.NewReplacer("'", " ", ",", " ", `"`, " ").Replace(list)
		list = regexp.MustCompile(`\s+`).ReplaceAllString(list, " ")
		return strings.NewReplacer("[ ", "[", " ]", "]").Replace(list)
	})
	return strings.TrimSpace(text)
}

// spaced is JSON with sorted keys and a space after each comma and colon.
func spaced(raw json.RawMessage) string {
	var value any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if d.Decode(&value) != nil {
		return string(raw)
	}
	sorted, err := json.Marshal(value)
	if err != nil {
		return string(raw)
	}
	var out strings.Builder
	quoted := false
	for i, c := range string(sorted) {
		out.WriteRune(c)
		switch {
		case c == '"' && (i == 0 || !escaped(sorted[:i])):
			quoted = !quoted
		case !quoted && (c == ',' || c == ':'):
			out.WriteByte(' ')
		}
	}
	return out.String()
}

// escaped says whether an odd number of backslashes stands at the end.
func escaped(before []byte) bool {
	return (len(before)-len(bytes.TrimRight(before, `\`)))%2 == 1
}

// didAnsible gives the tasks of a recorded run.
func didAnsible(events []ansibleEvent) []ranTask {
	type key struct{ host, task string }
	var rows []ranTask
	items := map[key][]said{}
	batch, handler := 0, false
	for _, e := range events {
		at := key{e.Host, e.Task}
		switch {
		case e.E == "play":
			batch++
		case e.E == "task" || e.E == "handler":
			handler = e.E == "handler"
		case e.E == "item":
			s := e.said()
			s.host = ""
			items[at] = append(items[at], s)
		case e.E == "result" && e.Include == nil:
			s := e.said()
			s.items = items[at]
			delete(items, at)
			rows = append(rows, ranTask{batch, e.Task, handler, s})
		}
	}
	return rows
}

// conformanceRun is what pegbook says it did.
type conformanceRun struct {
	rows     []ranTask
	recap    map[string]event.Counts
	exitCode *int
}

func readRun(lines []byte) (conformanceRun, error) {
	var did conformanceRun
	batch := 0
	for line := range bytes.Lines(lines) {
		var e pegbookEvent
		if err := json.Unmarshal(line, &e); err != nil {
			return did, fmt.Errorf("stdout is not JSON lines: %s", line)
		}
		switch e.Event {
		case "batch_started":
			batch++
		case "task_done":
			s := e.said()
			for _, item := range e.Items {
				of := item.said()
				of.host = ""
				s.items = append(s.items, of)
			}
			did.rows = append(did.rows, ranTask{batch, e.Task, e.Handler, s})
		case "run_done":
			did.recap, did.exitCode = e.Recap, e.ExitCode
		}
	}
	return did, nil
}
