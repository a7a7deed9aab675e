package plugins

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/plugins/wire"
)

// What a plugin is asked of its modules without a task, and without a host.

// reads asks a module what a text uses.
func (p *Plugin) reads(ctx context.Context, name string, args json.RawMessage, text string) (modules.Reading, error) {
	now, err := p.process(ctx)
	if err != nil {
		return modules.Reading{}, err
	}
	ctx, stop := context.WithTimeout(ctx, p.options.Start)
	defer stop()
	a, err := now.Reads(ctx, &wire.ReadsRequest{Module: name, Args: args, Text: text})
	if err != nil {
		return modules.Reading{}, p.blame(ctx, now, err)
	}
	if a.Error != nil {
		return modules.Reading{}, errors.New(a.Error.Message)
	}
	r := modules.Reading{Template: a.Template, Delims: [2]string{a.Left, a.Right}}
	for _, v := range a.Variables {
		r.Variables = append(r.Variables, modules.Mention{Variable: v.Variable, Text: v.Text, Offset: int(v.Offset)})
	}
	return r, nil
}

// maxAbout bounds the name of what a task is about, which is kept in the record of a run.
const maxAbout = 4 << 10

// about asks a module what a task is about. Where no answer is to be had, as of a plugin that has just died, it is about
// a thing of its own. A run that is being cancelled asks too, for its record.
func (p *Plugin) about(ctx context.Context, name string, args json.RawMessage) string {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), p.options.Start)
	defer stop()
	now, err := p.process(ctx)
	if err != nil {
		return ""
	}
	a, err := now.About(ctx, &wire.AboutRequest{Module: name, Args: args})
	if err != nil || len(a.About) > maxAbout || strings.Contains(a.About, "\n") || !plain(a.About) {
		return ""
	}
	return a.About
}
