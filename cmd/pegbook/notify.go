package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pegbook/pegbook/plugins"
	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/event"
	"github.com/pegbook/pegbook/runner/notify"
	"github.com/pegbook/pegbook/runner/pluginfile"
)

// notifyFiles are the files of --notify, or what stands for them in the environment.
func (o *runOptions) notifyFiles() []string {
	env := os.Getenv("PEGBOOK_NOTIFY")
	if len(o.notify) > 0 || env == "" {
		return o.notify
	}
	return strings.Split(env, ",")
}

// notifier is a notifier that a file names.
type notifier struct {
	file pluginfile.File

	opened   chan struct{} // closed when the rest is known
	plugin   *plugins.Plugin
	part     *plugins.Notifier
	options  json.RawMessage
	problems diag.List // of the file
	err      error     // of the plugin, which fails no run
}

// patience is how long a run waits to learn whether a notifier's options are right. One that takes longer is told them
// when it comes.
const patience = 2 * time.Second

// notifiers reads the files that name notifiers and begins to start their plugins.
func (a *app) notifiers(ctx context.Context, o *runOptions, paths []string) ([]*notifier, diag.List) {
	files := o.notifyFiles()
	folders := pluginFolders(o.pluginDir, slices.Concat(paths, o.sources(), files)...)
	var all []*notifier
	var problems diag.List
	for _, path := range files {
		file, ok := pluginfile.Read(path, o.keys, &problems)
		if !ok {
			continue
		}
		found, err := findPart(folders, file.Plugin, func(f plugins.Found) []string { return f.Notifiers })
		var none *noPartError
		switch {
		case errors.As(err, &none):
			problems.Add(file.At, none.hint, "there is no notifier %q", file.Plugin)
			continue
		case err != nil:
			problems.Add(file.At, "", "%v", err)
			continue
		}
		n := &notifier{file: file, opened: make(chan struct{})}
		all = append(all, n)
		go n.open(ctx, a.plugins, found)
	}
	return all, problems
}

// open starts the plugin and looks whether the options are right.
func (n *notifier) open(ctx context.Context, house *pluginHouse, found plugins.Found) {
	defer close(n.opened)
	p, err := house.start(ctx, found)
	if err != nil {
		n.fail(err)
		return
	}
	i := slices.IndexFunc(p.Notifiers(), func(part *plugins.Notifier) bool { return part.Name == n.file.Plugin })
	if i < 0 {
		n.err = fmt.Errorf("plugin %s has no notifier %s any more", p.Name(), n.file.Plugin)
		return
	}
	n.plugin, n.part = p, p.Notifiers()[i]
	n.options, _ = n.file.Options(n.part.Options, &n.problems)
}

// fail keeps why a plugin could not be started. That its file is not the one that was trusted is a problem before the
// run.
func (n *notifier) fail(err error) {
	var broken *plugins.Error
	if errors.As(err, &broken) {
		n.err = err
		return
	}
	n.problems.Add(n.file.At, "", "%v", err)
}

// ready gives what is wrong with the files of notifiers, as far as that is known soon.
func ready(all []*notifier) diag.List {
	var problems diag.List
	late := time.After(patience)
	for _, n := range all {
		select {
		case <-n.opened:
			problems.Append(n.problems)
		case <-late:
			return problems
		}
	}
	return problems
}

// begin makes a notifier listen.
func (n *notifier) begin(ctx context.Context, run plugins.Run) (*notify.Listener, error) {
	select {
	case <-n.opened:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if err := errors.Join(n.err, n.problems.Err()); err != nil {
		return nil, err
	}
	l, err := n.part.Begin(ctx, run, n.options)
	if err != nil {
		return nil, err
	}
	return &notify.Listener{Kinds: l.Kinds, End: l.End, Tell: func(ctx context.Context, kind string, line json.RawMessage) error {
		return l.Tell(ctx, plugins.Event{Kind: kind, Line: line})
	}}, nil
}

// blame names the plugin that has not done its part in time, with its last words.
func (n *notifier) blame(problem string) string {
	select {
	case <-n.opened:
	default: // it is being started, which has a bound of its own
		return problem
	}
	if n.plugin == nil {
		return problem
	}
	return (&plugins.Error{Plugin: n.plugin.Name(), Problem: problem, Output: n.plugin.Said()}).Error()
}

// listening are the queues to a run's notifiers.
type listening []*notify.Queue

// listen makes all notifiers listen to a run. It outlives an interrupt: that the run has ended is to be told.
func (a *app) listen(ctx context.Context, all []*notifier, run plugins.Run, aside func(func())) listening {
	var queues listening
	for _, n := range all {
		own := run
		own.File = n.file.Path
		if path, err := filepath.Abs(own.File); err == nil {
			own.File = path
		}
		queues = append(queues, notify.New(context.WithoutCancel(ctx), notify.Options{
			Begin: func(ctx context.Context, problem func(error)) (*notify.Listener, error) {
				own.Problem = problem
				return n.begin(ctx, own)
			},
			Blame: n.blame,
			Say: func(text string) {
				aside(func() {
					fmt.Fprintf(a.err, "pegbook: notifier %s: %s\n", n.file.Path, a.secrets.Text(whyNot(errors.New(text))))
				})
			},
		}))
	}
	return queues
}

// sinks are the queues for a run's events.
func (l listening) sinks() event.Tee {
	var all event.Tee
	for _, q := range l {
		all = append(all, q)
	}
	return all
}

// close lets the queues be passed on, side by side.
func (l listening) close() {
	var all sync.WaitGroup
	for _, q := range l {
		all.Go(q.Close)
	}
	all.Wait()
}
