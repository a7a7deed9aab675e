package playbook

import (
	"fmt"
	"io"

	"github.com/pegbook/pegbook/runner/vars"
)

// Digest writes what makes a task do what it does, for a hash: its module, arguments and own keywords. Its name
// and tags, comments and place do not count, and neither do its variables, which count where they are used.
func (t *Task) Digest(w io.Writer) {
	words(w, "task", t.Module, t.Meta, t.Register, t.LoopControl.Var, t.LoopControl.Index, t.LoopControl.Extended, len(t.Listen), t.Listen)
	for _, v := range []vars.Value{t.Args, t.Loop, t.Retries, t.Delay, t.Async, t.Poll} {
		v.Digest(w)
	}
	conditions(w, t.Until, t.ChangedWhen, t.FailedWhen)
	if in := t.Include; in != nil {
		words(w, "include", in.TasksFrom, in.VarsFrom, in.DefaultsFrom, in.HandlersFrom, in.Public, in.Unchecked)
		in.File.Digest(w)
		in.RoleName.Digest(w)
		in.Apply.Digest(w)
	}
	t.Keywords.Digest(w)
}

// Digest writes the keywords as they bear on the tasks below them.
func (k *Keywords) Digest(w io.Writer) {
	conditions(w, k.When)
	each(w, k.Environment)
	each(w, k.Notify)
	for _, d := range k.Defaults {
		words(w, "defaults", d.Module)
		d.Args.Digest(w)
	}
	for i, v := range k.nearest() {
		if !v.IsZero() {
			words(w, "keyword", i)
			v.Digest(w)
		}
	}
}

func conditions(w io.Writer, lists ...[]vars.Expr) {
	for _, list := range lists {
		words(w, "conditions", len(list))
		for _, e := range list {
			e.Digest(w)
		}
	}
}

func each(w io.Writer, list []vars.Value) {
	words(w, "values", len(list))
	for _, v := range list {
		v.Digest(w)
	}
}

// words writes words so that no two sequences of them come to the same bytes. A hash does not fail.
func words(w io.Writer, all ...any) {
	for _, word := range all {
		fmt.Fprintf(w, "%q\x00", fmt.Sprint(word)) //nolint:errcheck // see above
	}
}
