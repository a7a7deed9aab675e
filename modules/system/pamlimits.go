package system

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pegbook/pegbook/modules"
)

// PamLimits sets a limit of users' sessions.
func PamLimits() *modules.Module {
	return modules.Define("pam_limits", `Set a limit that users' sessions start with

One line of limits.conf(5). It holds for logins from then on; a daemon that systemd starts has the limits
of its unit. With use_max or use_min the value that is there stays when it is the greater, or the smaller,
of the two.

    - name: open files of the servers
      pam_limits:
        domain: pegasus
        limit_type: "-"
        limit_item: nofile
        value: "655350"
        dest: /etc/security/limits.d/60-pegasus.conf`, proposePamLimits)
}

type pamLimitsArgs struct {
	Domain  string `arg:"domain,required" doc:"user, @group, or * for all"`
	Type    string `arg:"limit_type,required" choices:"soft,hard,-" doc:"which limit; - is both"`
	Item    string `arg:"limit_item,required" choices:"core,data,fsize,memlock,nofile,rss,stack,cpu,nproc,as,maxlogins,maxsyslogins,priority,locks,sigpending,msgqueue,nice,rtprio,chroot" doc:"what is limited"`
	Value   string `arg:"value,required" doc:"a number, or unlimited, infinity or -1"`
	UseMax  bool   `arg:"use_max" doc:"whether a greater value that is there stays"`
	UseMin  bool   `arg:"use_min" doc:"whether a smaller value that is there stays"`
	Backup  bool   `arg:"backup" doc:"whether the file that is replaced is kept beside it"`
	Dest    string `arg:"dest,path" default:"/etc/security/limits.conf" doc:"the file"`
	Comment string `arg:"comment" doc:"comment of the line"`
}

func proposePamLimits(ctx context.Context, call *modules.Call, args pamLimitsArgs) (*modules.Proposal, error) {
	if args.UseMax && args.UseMin {
		return nil, &modules.ArgumentError{Arg: "use_min", Problem: "use_max and use_min exclude each other", Hint: "give one of them"}
	}
	if err := args.check(); err != nil {
		return nil, err
	}
	files, err := call.Host.Look(ctx, modules.Query{Path: args.Dest, Follow: true, Content: maxText})
	if err != nil {
		return nil, err
	}
	after, line := args.edited(string(files[0].Content))
	w := rewrite{file: files[0], after: after, backup: args.Backup}
	p := &modules.Proposal{Message: strings.TrimSpace(line)}
	if w.differs() {
		p.Diff = []modules.Diff{w.diff()}
		p.Do = func(ctx context.Context, host modules.Host) error { return host.Apply(ctx, w.change()) }
	}
	return p, nil
}

func (a pamLimitsArgs) check() error {
	n, err := strconv.Atoi(a.Value)
	if a.signed() {
		if err != nil || n < -20 || n > 19 {
			return &modules.ArgumentError{Arg: "value", Problem: fmt.Sprintf("value of %s is %q", a.Item, a.Value), Hint: "write a number from -20 to 19"}
		}
		return nil
	}
	if !unlimited(a.Value) && (err != nil || n < 0) {
		return &modules.ArgumentError{Arg: "value", Problem: fmt.Sprintf("value of %s is %q", a.Item, a.Value), Hint: "write a number from 0, or unlimited"}
	}
	return nil
}

// signed items go from -20 to 19, and -1 is a number of theirs.
func (a pamLimitsArgs) signed() bool { return a.Item == "nice" || a.Item == "priority" }

func unlimited(value string) bool {
	return slices.Contains([]string{"unlimited", "infinity", "-1"}, value)
}

// edited is the file with the limit, and the limit's line.
func (a pamLimitsArgs) edited(text string) (after, line string) {
	all := lines(text)
	for i, old := range all {
		limit, comment, _ := strings.Cut(old, "#")
		fields := strings.Fields(limit)
		if len(fields) != 4 || fields[0] != a.Domain || fields[1] != a.Type || fields[2] != a.Item {
			continue
		}
		line = old
		if value := a.choose(fields[3]); value != fields[3] {
			if a.Comment != "" {
				comment = a.Comment
			}
			all[i] = a.line(value, comment)
			line = all[i]
		}
	}
	if line == "" {
		line = a.line(a.Value, a.Comment)
		all = append(all, line)
	}
	return unlines(all), line
}

func (a pamLimitsArgs) line(value, comment string) string {
	line := strings.Join([]string{a.Domain, a.Type, a.Item, value}, "\t")
	if comment != "" {
		line += "\t#" + comment
	}
	return line
}

// choose decides between the value that is there and the one that is asked for.
func (a pamLimitsArgs) choose(old string) string {
	if !a.UseMax && !a.UseMin || old == a.Value {
		return a.Value
	}
	greater := a.Value
	switch {
	case a.signed() || !unlimited(old) && !unlimited(a.Value):
		was, err := strconv.Atoi(old)
		if want, _ := strconv.Atoi(a.Value); err == nil && was > want { // the value was checked
			greater = old
		}
	case unlimited(old):
		greater = old
	}
	if a.UseMax {
		return greater
	}
	if greater == old {
		return a.Value
	}
	return old
}
