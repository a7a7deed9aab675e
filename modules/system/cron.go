package system

import (
	"context"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/pegbook/pegbook/modules"
)

// Cron keeps a job or a variable in a crontab.
func Cron() *modules.Module {
	m := modules.Define("cron", `Keep a job or a variable in a crontab

A job is found by the comment "#Ansible: NAME" above it, so that crontabs that Ansible made are known. It
goes into the crontab of user, or with cron_file into a file of /etc/cron.d, which is removed when its last
job goes. Reading a user's crontab needs that user's or root's rights.

    - name: old logs go each night
      cron:
        name: old logs
        user: pegasus
        hour: "3"
        minute: "17"
        job: find /var/log/pegasus -name '*.log' -mtime +14 -delete`, proposeCron)
	return modules.About(modules.Restoring(m, restoreCron), cronArgs.about)
}

type cronArgs struct {
	Name     string  `arg:"name,required" doc:"what the job is called, or the variable's name"`
	Job      *string `arg:"job,alias=value" doc:"the command, or with env the variable's value"`
	State    string  `arg:"state" default:"present" choices:"present,absent" doc:"whether it is there"`
	User     string  `arg:"user" doc:"whose crontab, or with cron_file who runs the job; the task's own user when it is not given"`
	File     string  `arg:"cron_file" doc:"a file of /etc/cron.d, by its name or absolute, instead of a user's crontab"`
	Minute   string  `arg:"minute" default:"*" doc:"minute, such as 0, */5 or 10-20"`
	Hour     string  `arg:"hour" default:"*" doc:"hour"`
	Day      string  `arg:"day,alias=dom" default:"*" doc:"day of the month"`
	Month    string  `arg:"month" default:"*" doc:"month"`
	Weekday  string  `arg:"weekday,alias=dow" default:"*" doc:"day of the week, 0 is Sunday"`
	Special  string  `arg:"special_time" choices:"reboot,yearly,annually,monthly,weekly,daily,hourly" doc:"when, by name, instead of the five fields"`
	Disabled bool    `arg:"disabled" doc:"whether the job is commented out"`
	Env      bool    `arg:"env" doc:"whether it is a variable and no job"`
	After    string  `arg:"insertafter" doc:"a variable behind which a new one goes"`
	Before   string  `arg:"insertbefore" doc:"a variable before which a new one goes"`
	Backup   bool    `arg:"backup" doc:"whether the crontab that is replaced is kept: the file beside it, a user's crontab in /tmp"`
}

// cronState is what cron registers.
type cronState struct {
	Jobs   []string `json:"jobs"`
	Envs   []string `json:"envs"`
	File   string   `json:"cron_file,omitempty"`
	Backup string   `json:"backup_file,omitempty"`
}

func proposeCron(ctx context.Context, call *modules.Call, args cronArgs) (*modules.Proposal, error) {
	if err := args.check(); err != nil {
		return nil, err
	}
	out := &cronState{File: args.File}
	p := &modules.Proposal{Output: out}
	tab, err := args.read(ctx, call.Host)
	if err != nil {
		return nil, err
	}
	before := tab.text
	edit := crontab{lines(before)}
	was := args.before(tab, edit)
	changed, err := args.edit(&edit)
	if err != nil {
		return nil, err
	}
	out.Jobs, out.Envs = edit.jobs(), edit.variables()
	if !changed && (before == "" || strings.HasSuffix(before, "\n")) {
		return p, nil
	}
	after := edit.render()
	p.Diff = []modules.Diff{{Subject: tab.subject, Before: before, After: after, Note: "crontab differs"}}
	switch {
	case args.File != "" && args.State == "absent" && !args.Env && strings.TrimSpace(after) == "":
		p.Diff[0].Note = "is removed"
		p.Change(modules.Change{Kind: modules.Remove, Path: tab.file.Path})
	case args.File != "":
		w := rewrite{file: tab.file, after: after, backup: args.Backup, fresh: modules.Attributes{Mode: permissions(0o644)}}
		p.Change(w.change())
	default:
		p.Before = was
		p.Predicts = map[string]string{tab.key: after}
		p.Do = func(ctx context.Context, host modules.Host) error { return args.write(ctx, host, after, out) }
	}
	return p, nil
}

func (a cronArgs) check() error {
	problem := func(arg, problem, hint string) error {
		return &modules.ArgumentError{Arg: arg, Problem: problem, Hint: hint}
	}
	fields := a.Minute + a.Hour + a.Day + a.Month + a.Weekday
	switch {
	case a.Special != "" && fields != "*****":
		return problem("special_time", "special_time and the five fields exclude each other", "give one of them")
	case a.After != "" && a.Before != "":
		return problem("insertafter", "insertafter and insertbefore exclude each other", "give one of them")
	case a.File == "/etc/crontab":
		return problem("cron_file", "/etc/crontab belongs to the distribution", "name a file of /etc/cron.d")
	case a.Env && strings.Contains(a.Name, " "):
		return problem("name", fmt.Sprintf("%q is no name of a variable", a.Name), "leave the spaces out")
	case strings.ContainsAny(a.Name, "\r\n"):
		return problem("name", "the name holds a line break", "write it in one line")
	case a.State == "absent":
		return nil
	case a.File != "" && a.User == "":
		return problem("user", "a job of cron_file needs a user", "say who runs it with user")
	case a.Job == nil:
		return problem("job", "argument job is missing", "job is the command, or with env the variable's value")
	case strings.ContainsAny(strings.Trim(*a.Job, "\r\n"), "\r\n"):
		return problem("job", "the job holds a line break, and a crontab keeps each job in one line", "put the commands into a script")
	case (a.After != "" || a.Before != "") && !a.Env:
		return problem("insertafter", "insertafter and insertbefore are for variables", "give env: true, or leave them out")
	}
	return nil
}

// tab is a crontab as it was found.
type tab struct {
	subject, key, text string
	file               modules.File
}

func (a cronArgs) read(ctx context.Context, host modules.Host) (tab, error) {
	if a.File == "" {
		return a.readUser(ctx, host)
	}
	p := a.File
	if !path.IsAbs(p) {
		p = path.Join("/etc/cron.d", p)
	}
	files, err := host.Look(ctx, modules.Query{Path: p, Follow: true, Content: maxText})
	if err != nil {
		return tab{}, err
	}
	return tab{subject: p, text: string(files[0].Content), file: files[0]}, nil
}

// readCrontab prints whose crontab it is, and the crontab. Only root may name a user, even itself.
const readCrontab = `me=$(id -un); u=${1:-$me}; printf '%s\n' "$u"
if [ "$u" = "$me" ]; then crontab -l; else crontab -u "$u" -l; fi`

func (a cronArgs) readUser(ctx context.Context, host modules.Host) (tab, error) {
	out, err := host.Run(ctx, modules.Command{Argv: []string{"/bin/sh", "-c", readCrontab, "sh", a.User}, ReadOnly: true,
		Env: map[string]string{"LC_ALL": "C"}})
	user, text, _ := strings.Cut(string(out.Stdout), "\n")
	t := tab{subject: "crontab of " + user, key: "cron/" + user, text: withoutHead(text)}
	var exit *modules.ExitError
	if errors.As(err, &exit) {
		user, _, _ = strings.Cut(string(exit.Stdout), "\n")
		t.subject, t.key, t.text = "crontab of "+user, "cron/"+user, ""
		if err = a.readable(ctx, host, user, exit); err != nil {
			return t, err
		}
	} else if err != nil {
		return t, err
	}
	if predicted, ok := host.Predicted(t.key); ok {
		t.text = predicted
	}
	return t, nil
}

// readable tells a user without a crontab from one whose crontab cannot be read. In check mode the user
// may be one that an earlier task would have made.
func (a cronArgs) readable(ctx context.Context, host modules.Host, user string, exit *modules.ExitError) error {
	said := string(exit.Stderr)
	switch {
	case strings.Contains(said, "no crontab for"), strings.Contains(said, "can't open '"+user+"'"): // cron, cronie; busybox
		return nil
	case exit.ExitCode == 127 || strings.Contains(said, "crontab: not found"):
		return fmt.Errorf("there is no crontab on the host; install cron (Debian) or cronie (RedHat): %w", exit)
	case !strings.Contains(said, "unknown") && !strings.Contains(said, "not known"):
		return fmt.Errorf("read the crontab of %s: %w", user, exit)
	}
	files, err := host.Look(ctx, modules.Query{Path: "/etc/passwd", Follow: true, Content: maxText})
	if err != nil {
		return err
	}
	if readTable(files[0]).find(user) == nil {
		return fmt.Errorf("there is no user %s on the host; make it with a task of user before", user)
	}
	return nil
}

var cronHead = regexp.MustCompile(`^# (DO NOT EDIT THIS FILE - edit the master and reinstall\.|\(/tmp/.*installed on.*\)|\(.*version.*\))`)

// withoutHead drops the lines that old versions of crontab print before the crontab.
func withoutHead(text string) string {
	all := slices.Collect(strings.Lines(text))
	for i := min(3, len(all)) - 1; i >= 0; i-- {
		if cronHead.MatchString(all[i]) {
			all = slices.Delete(all, i, i+1)
		}
	}
	return strings.Join(all, "")
}

// write hands the crontab to the program that keeps it, which checks it.
func (a cronArgs) write(ctx context.Context, host modules.Host, text string, out *cronState) error {
	const install = `me=$(id -un); u=${1:-$me}; if [ "$u" = "$me" ]; then set --; else set -- -u "$u"; fi
if [ -n "$backup" ]; then f=$(mktemp /tmp/crontabXXXXXX); crontab "$@" -l >"$f" 2>/dev/null || true; printf '%s\n' "$f"; fi
crontab "$@" -`
	env := map[string]string{"LC_ALL": "C", "backup": ""}
	if a.Backup {
		env["backup"] = "1"
	}
	done, err := host.Run(ctx, modules.Command{Argv: []string{"/bin/sh", "-ec", install, "sh", a.User}, Env: env, Stdin: []byte(text)})
	if err == nil {
		out.Backup = strings.TrimSpace(string(done.Stdout))
	}
	return err
}

// edit makes the crontab as it should be, and says whether that changes it.
func (a cronArgs) edit(c *crontab) (bool, error) {
	if a.Env {
		return a.editVariable(c)
	}
	if a.State == "absent" {
		if _, ok := c.job(a.Name); !ok {
			return false, nil
		}
		c.update(a.Name, "")
		return true, nil
	}
	line := a.line()
	old, ok := c.job(a.Name)
	switch {
	case ok && old == line:
		return false, nil
	case ok:
		c.update(a.Name, line)
	case c.adopt(a.Name, line):
	default:
		c.lines = append(c.lines, cronMark+a.Name, line)
	}
	return true, nil
}

func (a cronArgs) editVariable(c *crontab) (bool, error) {
	is := func(name string) func(string) bool {
		return func(line string) bool { return strings.HasPrefix(line, name+"=") }
	}
	i := slices.IndexFunc(c.lines, is(a.Name))
	if a.State == "absent" {
		c.lines = slices.DeleteFunc(c.lines, is(a.Name))
		return i >= 0, nil
	}
	line := a.Name + `="` + *a.Job + `"`
	if i >= 0 {
		changed := c.lines[i] != line
		for j := range c.lines {
			if changed && is(a.Name)(c.lines[j]) {
				c.lines[j] = line
			}
		}
		return changed, nil
	}
	at := 0
	if other := a.After + a.Before; other != "" {
		if at = slices.IndexFunc(c.lines, is(other)); at < 0 {
			return false, fmt.Errorf("the crontab has no variable %s, beside which %s is to go", other, a.Name)
		}
		if a.After != "" {
			at++
		}
	}
	c.lines = slices.Insert(c.lines, at, line)
	return true, nil
}

// line is the job as the crontab has it.
func (a cronArgs) line() string {
	when := strings.Join([]string{a.Minute, a.Hour, a.Day, a.Month, a.Weekday}, " ")
	if a.Special != "" {
		when = "@" + a.Special
	}
	if a.File != "" {
		when += " " + a.User
	}
	line := when + " " + strings.Trim(*a.Job, "\r\n")
	if a.Disabled {
		line = "#" + line
	}
	return line
}

// cronMark starts the comment above a job.
const cronMark = "#Ansible: "

// crontab is the lines of one.
type crontab struct{ lines []string }

// job gives the line below the mark of a name.
func (c *crontab) job(name string) (string, bool) {
	for i := 0; i+1 < len(c.lines); i++ {
		if mark, ok := strings.CutPrefix(c.lines[i], cronMark); ok {
			if mark == name {
				return c.lines[i+1], true
			}
			i++ // what is below a mark is a job, whatever it looks like
		}
	}
	return "", false
}

// update replaces each job of a name, or with no line removes it.
func (c *crontab) update(name, line string) {
	var all []string
	for i := 0; i < len(c.lines); i++ {
		if c.lines[i] != cronMark+name {
			all = append(all, c.lines[i])
			continue
		}
		if i++; line != "" && i < len(c.lines) {
			all = append(all, cronMark+name, line)
		}
	}
	c.lines = all
}

// adopt gives a mark to a job that somebody wrote without one.
func (c *crontab) adopt(name, line string) bool {
	i := slices.Index(c.lines, line)
	if i < 0 || i > 0 && strings.HasPrefix(c.lines[i-1], cronMark) {
		return false
	}
	c.lines = slices.Insert(c.lines, i, cronMark+name)
	return true
}

func (c *crontab) jobs() []string {
	names := []string{}
	for _, line := range c.lines {
		if name, ok := strings.CutPrefix(line, cronMark); ok {
			names = append(names, name)
		}
	}
	return names
}

var cronVariable = regexp.MustCompile(`^\S+=`)

func (c *crontab) variables() []string {
	names := []string{}
	for _, line := range c.lines {
		if cronVariable.MatchString(line) {
			name, _, _ := strings.Cut(line, "=")
			names = append(names, name)
		}
	}
	return names
}

func (c *crontab) render() string {
	text := strings.TrimRight(strings.Join(c.lines, "\n"), "\r\n")
	if text == "" {
		return ""
	}
	return text + "\n"
}
