package system

import (
	"context"
	"slices"
	"strings"

	"github.com/pegbook/pegbook/modules"
)

// cronBefore is what cron keeps of before: what stood for the job or variable in a user's crontab. Files of /etc/cron.d
// are kept by the host.
type cronBefore struct {
	// Lines are the lines of it; none where it was not there.
	Lines []string `json:"lines,omitempty"`
	// Next is the line behind it; "" where it was the last.
	Next string `json:"next,omitempty"`
	// Empty says that there was no crontab.
	Empty bool `json:"empty,omitempty"`
}

// about names the job.
func (a cronArgs) about() string {
	if a.File != "" || a.User == "" { // which user's is not known
		return ""
	}
	return "job " + a.Name + " of " + a.User
}

// before says what is there.
func (a cronArgs) before(t tab, c crontab) cronBefore {
	b := cronBefore{Empty: t.text == ""}
	i, n := a.block(c)
	if i < 0 && !a.Env && a.Job != nil { // a job without a mark, which is going to get one
		if j := slices.Index(c.lines, a.line()); j >= 0 && (j == 0 || !strings.HasPrefix(c.lines[j-1], cronMark)) {
			i, n = j, 1
		}
	}
	if i >= 0 {
		b.Lines = slices.Clone(c.lines[i : i+n])
		if i+n < len(c.lines) {
			b.Next = c.lines[i+n]
		}
	}
	return b
}

// block finds the lines of the job or variable.
func (a cronArgs) block(c crontab) (at, count int) {
	if a.Env {
		return slices.IndexFunc(c.lines, func(line string) bool { return strings.HasPrefix(line, a.Name+"=") }), 1
	}
	for i := 0; i+1 < len(c.lines); i++ {
		if mark, ok := strings.CutPrefix(c.lines[i], cronMark); ok {
			if mark == a.Name {
				return i, 2
			}
			i++ // what is below a mark is a job
		}
	}
	return -1, 0
}

// putBack makes the crontab have what was there before.
func (a cronArgs) putBack(c *crontab, b cronBefore) {
	i, n := a.block(*c)
	switch {
	case i >= 0:
		c.lines = slices.Replace(c.lines, i, i+n, b.Lines...)
	case len(b.Lines) == 1 && slices.Contains(c.lines, b.Lines[0]): // it stands there without a mark, as before
	case b.Next != "" && slices.Contains(c.lines, b.Next):
		c.lines = slices.Insert(c.lines, slices.Index(c.lines, b.Next), b.Lines...)
	default:
		c.lines = append(c.lines, b.Lines...)
	}
}

// restoreCron puts a job of a user's crontab back.
func restoreCron(ctx context.Context, call *modules.Call, args cronArgs, before *cronBefore) (*modules.Proposal, error) {
	out := &cronState{File: args.File}
	p := &modules.Proposal{Output: out}
	t, err := args.read(ctx, call.Host)
	if err != nil {
		return nil, err
	}
	edit := crontab{lines(t.text)}
	now := args.before(t, edit)
	if before != nil && args.File == "" {
		args.putBack(&edit, *before)
	}
	out.Jobs, out.Envs = edit.jobs(), edit.variables()
	if before == nil || args.File != "" || slices.Equal(edit.lines, lines(t.text)) {
		return p, nil
	}
	after := edit.render()
	p.Before = now
	p.Diff = []modules.Diff{{Subject: t.subject, Before: t.text, After: after, Note: "is put back"}}
	p.Predicts = map[string]string{t.key: after}
	p.Do = func(ctx context.Context, host modules.Host) error {
		if before.Empty && after == "" {
			return args.remove(ctx, host)
		}
		args.Backup = false
		return args.write(ctx, host, after, out)
	}
	return p, nil
}

// remove removes the crontab of the user.
func (a cronArgs) remove(ctx context.Context, host modules.Host) error {
	const remove = `me=$(id -un); u=${1:-$me}; if [ "$u" = "$me" ]; then crontab -r; else crontab -u "$u" -r; fi`
	_, err := host.Run(ctx, modules.Command{Argv: []string{"/bin/sh", "-ec", remove, "sh", a.User}, Env: map[string]string{"LC_ALL": "C"}})
	return err
}
