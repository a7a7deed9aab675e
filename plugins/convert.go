package plugins

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/plugins/wire"
)

// The types of the contract on the wire, and back.

func nanoseconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func moment(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns)
}

// printable is a text for people as the wire carries it: what is no UTF-8 in it, such as a line of an old
// configuration in a diff, is replaced by a sign for that.
func printable(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

func allPrintable(texts []string) []string {
	all := make([]string, len(texts))
	for i, text := range texts {
		all[i] = printable(text)
	}
	return all
}

func moduleToWire(m *modules.Module) *wire.Module {
	return &wire.Module{Name: m.Name, Doc: m.Doc, Args: schemaToWire(m.Args), Runs: m.Runs, Gathers: m.Gathers,
		Keeps: m.Keeps, Proves: m.Proves, Prepares: m.Prepares, Restores: m.Restore != nil, Abouts: m.About != nil,
		Reads: m.Reads != nil, Facts: m.Facts, Output: shapeToWire(m.Output)}
}

func schemaToWire(schema modules.Schema) []*wire.Arg {
	var args []*wire.Arg
	for _, a := range schema {
		args = append(args, &wire.Arg{Name: a.Name, Aliases: a.Aliases, Type: string(a.Type), Elem: string(a.Elem), Required: a.Required,
			Default: a.Default, Choices: a.Choices, Min: a.Min, Max: a.Max, Doc: a.Doc, Secret: a.Secret, Free: a.Free,
			Preserve: a.Preserve, File: a.File, Command: a.Command, Rest: a.Rest})
	}
	return args
}

func schemaFromWire(args []*wire.Arg) modules.Schema {
	var schema modules.Schema
	for _, a := range args {
		schema = append(schema, modules.Arg{Name: a.Name, Aliases: a.Aliases, Type: modules.Type(a.Type), Elem: modules.Type(a.Elem),
			Required: a.Required, Default: a.Default, Choices: a.Choices, Min: a.Min, Max: a.Max, Doc: a.Doc, Secret: a.Secret,
			Free: a.Free, Preserve: a.Preserve, File: a.File, Command: a.Command, Rest: a.Rest})
	}
	return schema
}

func shapeToWire(s *modules.Shape) *wire.Shape {
	if s == nil {
		return nil
	}
	w := &wire.Shape{Elem: shapeToWire(s.Elem), Closed: s.Fields != nil}
	for name, field := range s.Fields {
		if w.Fields == nil {
			w.Fields = map[string]*wire.Shape{}
		}
		if w.Fields[name] = shapeToWire(field); field == nil {
			w.Fields[name] = &wire.Shape{Anything: true}
		}
	}
	return w
}

func shapeFromWire(w *wire.Shape) *modules.Shape {
	if w == nil || w.Anything {
		return nil
	}
	s := &modules.Shape{Elem: shapeFromWire(w.Elem)}
	if w.Closed || len(w.Fields) > 0 {
		s.Fields = map[string]*modules.Shape{}
	}
	for name, field := range w.Fields {
		s.Fields[name] = shapeFromWire(field)
	}
	return s
}

func queriesToWire(queries []modules.Query) []*wire.Look_Query {
	all := make([]*wire.Look_Query, len(queries))
	for i, q := range queries {
		all[i] = &wire.Look_Query{Path: q.Path, Follow: q.Follow, Sum: q.Sum, Content: q.Content, List: q.List, Disk: q.Disk}
	}
	return all
}

func queriesFromWire(queries []*wire.Look_Query) []modules.Query {
	all := make([]modules.Query, len(queries))
	for i, q := range queries {
		all[i] = modules.Query{Path: q.Path, Follow: q.Follow, Sum: q.Sum, Content: q.Content, List: q.List, Disk: q.Disk}
	}
	return all
}

func (s *session) filesToWire(files []modules.File) []*wire.File {
	all := make([]*wire.File, len(files))
	for i, f := range files {
		all[i] = &wire.File{Path: f.Path, Kind: string(f.Kind), Mode: f.Mode, Size: f.Size, Uid: int64(f.UID), Gid: int64(f.GID),
			Owner: f.Owner, Group: f.Group, Target: f.Target, Sum: f.Sum, Truncated: f.Truncated, DiskTotal: f.DiskTotal,
			DiskFree: f.DiskFree, Device: f.Device}
		if !f.Modified.IsZero() {
			all[i].ModifiedNs, all[i].ModifiedKnown = f.Modified.UnixNano(), true
		}
		if f.Content != nil {
			all[i].Content = s.foundToWire(f.Path, f.Content)
		}
		if f.Entries != nil {
			all[i].Entries = s.filesToWire(f.Entries)
		}
	}
	return all
}

// filesFromWire reads the answer to queries, nil for the entries of a folder.
func (s *session) filesFromWire(files []*wire.File, queries []modules.Query) ([]modules.File, error) {
	all := make([]modules.File, len(files))
	for i, f := range files {
		all[i] = modules.File{Path: f.Path, Kind: modules.FileKind(f.Kind), Mode: f.Mode, Size: f.Size, UID: int(f.Uid), GID: int(f.Gid),
			Owner: f.Owner, Group: f.Group, Target: f.Target, Sum: f.Sum, Truncated: f.Truncated, DiskTotal: f.DiskTotal,
			DiskFree: f.DiskFree, Device: f.Device}
		if f.ModifiedKnown {
			all[i].Modified = time.Unix(0, f.ModifiedNs)
		}
		var err error
		if f.Content != nil && queries != nil {
			if all[i].Content, err = s.bytes(f.Content, queries[i].Content); err != nil {
				return nil, err
			}
		}
		if f.Entries != nil {
			if all[i].Entries, err = s.filesFromWire(f.Entries, nil); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

func (s *session) changesToWire(changes []modules.Change) []*wire.Change {
	var all []*wire.Change
	for _, c := range changes {
		all = append(all, &wire.Change{Kind: string(c.Kind), Path: c.Path, Target: c.Target, Content: s.contentToWire(c.Content),
			Backup: c.Backup, Strip: int64(c.Strip), Recursive: c.Recursive, Within: c.Within, Mode: c.Mode, Owner: c.Owner, Group: c.Group})
	}
	return all
}

func (s *session) changesFromWire(changes []*wire.Change) ([]modules.Change, error) {
	var all []modules.Change
	for _, c := range changes {
		content, err := s.contentFromWire(c.Content)
		if err != nil {
			return nil, err
		}
		all = append(all, modules.Change{Kind: modules.ChangeKind(c.Kind), Path: c.Path, Target: c.Target, Content: content,
			Backup: c.Backup, Strip: int(c.Strip), Recursive: c.Recursive, Within: c.Within,
			Attributes: modules.Attributes{Mode: c.Mode, Owner: c.Owner, Group: c.Group}})
	}
	return all, nil
}

func commandToWire(c modules.Command) *wire.Command {
	return &wire.Command{Argv: c.Argv, Dir: c.Dir, Env: c.Env, Stdin: c.Stdin, ReadOnly: c.ReadOnly, Detach: c.Detach, Log: c.Log,
		Bare: c.Bare, MaxOutput: int64(c.MaxOutput)}
}

func commandFromWire(c *wire.Command) modules.Command {
	return modules.Command{Argv: c.GetArgv(), Dir: c.GetDir(), Env: c.GetEnv(), Stdin: c.GetStdin(), ReadOnly: c.GetReadOnly(),
		Detach: c.GetDetach(), Log: c.GetLog(), Bare: c.GetBare(), MaxOutput: int(c.GetMaxOutput())}
}

func outputToWire(o modules.Output) *wire.Output {
	return &wire.Output{ExitCode: int64(o.ExitCode), Stdout: o.Stdout, Stderr: o.Stderr, Truncated: o.Truncated, Pid: int64(o.PID),
		StartedNs: nanoseconds(o.Started), EndedNs: nanoseconds(o.Ended)}
}

func outputFromWire(o *wire.Output) modules.Output {
	return modules.Output{ExitCode: int(o.GetExitCode()), Stdout: o.GetStdout(), Stderr: o.GetStderr(), Truncated: o.GetTruncated(),
		PID: int(o.GetPid()), Started: moment(o.GetStartedNs()), Ended: moment(o.GetEndedNs())}
}

func (s *session) jobToWire(state modules.JobState) *wire.JobState {
	w := &wire.JobState{Id: state.ID, Argv: state.Argv, Running: state.Running, Finished: state.Finished, TimedOut: state.TimedOut,
		Path: state.Path, Output: outputToWire(state.Output)}
	w.Output.Error = s.problem(state.Err)
	return w
}

func (s *session) jobFromWire(w *wire.JobState) modules.JobState {
	state := modules.JobState{ID: w.GetId(), Argv: w.GetArgv(), Running: w.GetRunning(), Finished: w.GetFinished(),
		TimedOut: w.GetTimedOut(), Path: w.GetPath(), Output: outputFromWire(w.GetOutput())}
	if e := w.GetOutput().GetError(); e != nil {
		state.Err = s.failure(e)
	}
	return state
}

func progressToWire(p modules.Progress) *wire.Progress {
	w := &wire.Progress{Phase: printable(p.Phase), ExpectsNs: int64(p.Expects), Detail: printable(p.Detail)}
	for _, c := range p.Counts {
		w.Counts = append(w.Counts, &wire.Progress_Count{Name: printable(c.Name), Left: int64(c.Left), Of: int64(c.Of)})
	}
	return w
}

func progressFromWire(w *wire.Progress) modules.Progress {
	p := modules.Progress{Phase: w.Phase, Expects: time.Duration(w.ExpectsNs), Detail: w.Detail}
	for _, c := range w.Counts {
		p.Counts = append(p.Counts, modules.Count{Name: c.Name, Left: int(c.Left), Of: int(c.Of)})
	}
	return p
}

func diffToWire(diff []modules.Diff) []*wire.Diff {
	var all []*wire.Diff
	for _, d := range diff {
		all = append(all, &wire.Diff{Subject: printable(d.Subject), Before: printable(d.Before), After: printable(d.After), Note: printable(d.Note), Secret: d.Secret})
	}
	return all
}

func diffFromWire(diff []*wire.Diff) []modules.Diff {
	var all []modules.Diff
	for _, d := range diff {
		all = append(all, modules.Diff{Subject: d.Subject, Before: d.Before, After: d.After, Note: d.Note, Secret: d.Secret})
	}
	return all
}

func valuesToWire(vars map[string]json.RawMessage) map[string][]byte {
	var all map[string][]byte
	for name, raw := range vars {
		if all == nil {
			all = map[string][]byte{}
		}
		all[name] = raw
	}
	return all
}

func valuesFromWire(vars map[string][]byte) map[string]json.RawMessage {
	var all map[string]json.RawMessage
	for name, raw := range vars {
		if all == nil {
			all = map[string]json.RawMessage{}
		}
		all[name] = raw
	}
	return all
}

// proposedToWire puts a proposal on the wire but for its Do, which stays.
func (s *session) proposedToWire(p *modules.Proposal) (*wire.Proposed, error) {
	w := &wire.Proposed{Diff: diffToWire(p.Diff), Does: p.Do != nil, Predicted: p.Predicts != nil, Predicts: p.Predicts,
		Once: p.Once, Mark: p.Mark, Stays: p.Stays, Leaves: s.changesToWire(p.Leaves), Waits: p.Waits, ExpectsNs: int64(p.Expects), Skip: p.Skip,
		FactRank: string(p.FactRank), Message: printable(p.Message), Facts: valuesToWire(p.Facts)}
	var err error
	if w.Output, err = resultJSON(p.Output); err != nil {
		return nil, err
	}
	if w.Before, err = resultJSON(p.Before); err != nil {
		return nil, err
	}
	if p.Changes != nil {
		w.OnlyChanges, w.Changes = true, s.changesToWire(p.Changes)
	}
	for _, f := range p.VarFiles {
		w.VarFiles = append(w.VarFiles, &wire.Proposed_VarFile{Content: s.contentToWire(f.Source), Under: f.Under})
	}
	for _, j := range p.Joins {
		w.Joins = append(w.Joins, &wire.Proposed_Join{Host: j.Host, Groups: j.Groups, Parents: j.Parents, Vars: valuesToWire(j.Vars)})
	}
	return w, nil
}

// resultJSON is what register is to store; nil for nothing.
func resultJSON(output any) ([]byte, error) {
	if output == nil {
		return nil, nil
	}
	return json.Marshal(output)
}

// ownNames refuses variables that pegbook itself sets: they would be there and never seen.
func ownNames(all map[string]json.RawMessage) error {
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if modules.Magic(name) {
			return fmt.Errorf("%w: the variable %s is pegbook's own; call it something else", errNonsense, name)
		}
	}
	return nil
}

// proposedFromWire is a proposal without its Do.
func (s *session) proposedFromWire(w *wire.Proposed) (*modules.Proposal, error) {
	p := &modules.Proposal{Diff: diffFromWire(w.Diff), Waits: w.Waits, Once: w.Once, Mark: w.Mark, Stays: w.Stays, Expects: time.Duration(w.ExpectsNs), Skip: w.Skip,
		Facts: valuesFromWire(w.Facts), FactRank: modules.FactRank(w.FactRank), Message: w.Message}
	if w.Predicted {
		if p.Predicts = w.Predicts; p.Predicts == nil {
			p.Predicts = map[string]string{}
		}
	}
	if len(w.Before) > 0 {
		if !json.Valid(w.Before) {
			return nil, fmt.Errorf("%w: what it says of before is no JSON: %.60q", errNonsense, w.Before)
		}
		p.Before = json.RawMessage(w.Before)
	}
	switch p.FactRank {
	case modules.RankSet, modules.RankFound, modules.RankBoth:
	default:
		return nil, fmt.Errorf("%w: there is no rank of facts %q", errNonsense, w.FactRank)
	}
	if err := ownNames(p.Facts); err != nil {
		return nil, err
	}
	var err error
	if p.Leaves, err = s.changesFromWire(w.Leaves); err != nil {
		return nil, err
	}
	for _, f := range w.VarFiles {
		source, err := s.contentFromWire(f.Content)
		if err != nil {
			return nil, err
		}
		p.VarFiles = append(p.VarFiles, modules.VarFile{Source: source, Under: f.Under})
	}
	for _, j := range w.Joins {
		join := modules.Join{Host: j.Host, Groups: j.Groups, Parents: j.Parents, Vars: valuesFromWire(j.Vars)}
		if err := ownNames(join.Vars); err != nil {
			return nil, err
		}
		if join.Groups == nil {
			join.Groups = []string{}
		}
		if join.Vars == nil {
			join.Vars = map[string]json.RawMessage{}
		}
		p.Joins = append(p.Joins, join)
	}
	return p, nil
}
