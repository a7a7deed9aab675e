package system

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/pegbook/pegbook/modules"
)

// Sysctl sets a parameter of the kernel.
func Sysctl() *modules.Module {
	m := modules.Define("sysctl", `Set a parameter of the kernel, for good

Writes the parameter into a file that is read when the machine starts, and with reload: true (the usual
case) sets the kernel to what the file says, all of it. sysctl_set: true sets the one parameter without the
file. A parameter that the kernel does not have is an error unless ignoreerrors is given: where a kernel
module brings it, load that first.

    - name: mapped files for the servers
      sysctl:
        name: vm.max_map_count
        value: 655300
        sysctl_file: /etc/sysctl.d/60-pegasus.conf`, proposeSysctl)
	return modules.About(modules.Restoring(m, restoreSysctl), func(args sysctlArgs) string { return strings.TrimSpace(args.Name) })
}

// sysctlBefore is what sysctl keeps of before, besides the file, which the host keeps.
type sysctlBefore struct {
	Value string `json:"value"`
}

// restoreSysctl gives the kernel the value that it had.
func restoreSysctl(ctx context.Context, call *modules.Call, args sysctlArgs, before *sysctlBefore) (*modules.Proposal, error) {
	args.Name = strings.TrimSpace(args.Name)
	p := &modules.Proposal{}
	if before == nil {
		return p, nil
	}
	files, err := call.Host.Look(ctx, modules.Query{Path: procPath(args.Name), Content: 1 << 16})
	if err != nil {
		return nil, err
	}
	now := strings.TrimSpace(string(files[0].Content))
	if predicted, ok := call.Host.Predicted(args.key()); ok {
		now, files[0].Kind = predicted, modules.Regular
	}
	if files[0].Kind == modules.Missing || slices.Equal(strings.Fields(now), strings.Fields(before.Value)) {
		return p, nil
	}
	p.Diff = []modules.Diff{{Subject: args.Name, Note: fmt.Sprintf("%s → %s, as before", now, before.Value)}}
	p.Before = sysctlBefore{now}
	p.Predicts = map[string]string{args.key(): before.Value}
	args.Value, args.State, args.Set, args.Reload = before.Value, "present", true, false
	p.Do = func(ctx context.Context, host modules.Host) error { return args.do(ctx, host, nil) }
	return p, nil
}

type sysctlArgs struct {
	Name   string `arg:"name,required,alias=key" doc:"the parameter, such as vm.swappiness"`
	Value  string `arg:"value,alias=val" doc:"its value; true and false stand for 1 and 0"`
	State  string `arg:"state" default:"present" choices:"present,absent" doc:"whether the file has it; the kernel keeps its value when it goes"`
	File   string `arg:"sysctl_file,path" default:"/etc/sysctl.conf" doc:"the file"`
	Reload bool   `arg:"reload" default:"true" doc:"whether the kernel is set to what the file says when something differs"`
	Set    bool   `arg:"sysctl_set" doc:"whether the kernel's parameter is set by itself"`
	Ignore bool   `arg:"ignoreerrors" doc:"whether a parameter that the kernel does not have is no error"`
}

func proposeSysctl(ctx context.Context, call *modules.Call, args sysctlArgs) (*modules.Proposal, error) {
	args.Name, args.Value = strings.TrimSpace(args.Name), kernelValue(args.Value)
	if args.Name == "" || args.State == "present" && args.Value == "" {
		return nil, &modules.ArgumentError{Arg: "value", Problem: "the parameter has no name or no value", Hint: "give name and value"}
	}
	files, err := call.Host.Look(ctx, modules.Query{Path: args.File, Follow: true, Content: maxText},
		modules.Query{Path: procPath(args.Name), Content: 1 << 16})
	if err != nil {
		return nil, err
	}
	file, kernel := files[0], files[1]
	now := strings.TrimSpace(string(kernel.Content))
	if predicted, ok := call.Host.Predicted(args.key()); ok {
		now, kernel.Kind = predicted, modules.Regular
	}
	live := args.State == "present" && (args.Reload || args.Set)
	if live && kernel.Kind == modules.Missing && !args.Ignore {
		return nil, fmt.Errorf("the kernel has no parameter %s; load the module that brings it, or give reload: false or ignoreerrors: true", args.Name)
	}
	p := &modules.Proposal{Predicts: map[string]string{}}
	w := rewrite{file: file, after: args.edited(string(file.Content))}
	writes := args.writes(string(file.Content))
	if writes {
		p.Diff, p.Leaves = append(p.Diff, w.diff()), []modules.Change{w.change()}
	}
	if live && kernel.Kind != modules.Missing && !slices.Equal(strings.Fields(now), strings.Fields(args.Value)) {
		p.Diff = append(p.Diff, modules.Diff{Subject: args.Name, Note: fmt.Sprintf("%s → %s", now, args.Value)})
		p.Predicts[args.key()] = args.Value
		p.Before = sysctlBefore{now}
	}
	if len(p.Diff) > 0 && args.Reload {
		for _, line := range lines(w.after) { // all of the file goes to the kernel
			if name, value, ok := setting(line); ok {
				p.Predicts["sysctl/"+name] = value
			}
		}
	}
	if len(p.Diff) > 0 {
		p.Do = func(ctx context.Context, host modules.Host) error { return args.do(ctx, host, p.Leaves) }
	}
	return p, nil
}

func (a sysctlArgs) key() string { return "sysctl/" + a.Name }

// do writes the file and hands it to the kernel; two steps, because the kernel reads what was written.
func (a sysctlArgs) do(ctx context.Context, host modules.Host, writes []modules.Change) error {
	if len(writes) > 0 {
		if err := host.Apply(ctx, writes...); err != nil {
			return err
		}
	}
	var commands [][]string
	tool := []string{"sysctl", "-q"}
	if a.Ignore {
		tool = append(tool, "-e")
	}
	if a.Set && a.State == "present" {
		commands = append(commands, append(slices.Clone(tool), "-w", a.Name+"="+a.Value))
	}
	if a.Reload {
		commands = append(commands, append(slices.Clone(tool), "-p", a.File))
	}
	if len(commands) == 0 {
		return nil
	}
	out, err := host.Run(ctx, script(commands...))
	if err != nil {
		return err
	}
	// Some versions of sysctl say that it did not work and end with 0.
	if said := string(out.Stderr); strings.Contains(said, "Invalid argument") || strings.Contains(said, "Read-only file system") {
		return fmt.Errorf("set %s: %s", a.Name, strings.TrimSpace(said))
	}
	return nil
}

// procPath is where the kernel shows a parameter. As in sysctl(8), the first of . and / separates, and
// the other one is part of a name (net.ipv4.conf.eth0/100.forwarding).
func procPath(name string) string {
	if i := strings.IndexAny(name, "./"); i >= 0 && name[i] == '.' {
		name = strings.NewReplacer(".", "/", "/", ".").Replace(name)
	}
	return "/proc/sys/" + name
}

// kernelValue is a value as the kernel takes it.
func kernelValue(value string) string {
	switch strings.ToLower(value) {
	case "y", "yes", "on", "true", "t", "1.0":
		return "1"
	case "n", "no", "off", "false", "f", "0.0":
		return "0"
	}
	return strings.TrimSpace(value)
}

// setting reads a line of a file of parameters.
func setting(line string) (name, value string, ok bool) {
	line = strings.TrimSpace(line)
	if line == "" || line[0] == '#' || line[0] == ';' {
		return "", "", false
	}
	name, value, ok = strings.Cut(line, "=")
	return strings.TrimSpace(name), strings.TrimSpace(value), ok
}

// writes says whether the file differs from what is asked. The last line of a name counts.
func (a sysctlArgs) writes(text string) bool {
	there, value := false, ""
	for _, line := range lines(text) {
		if name, v, ok := setting(line); ok && name == a.Name {
			there, value = true, v
		}
	}
	if a.State == "absent" {
		return there
	}
	return !there || value != a.Value
}

// edited is the file as it should be: each parameter once, where it stood first.
func (a sysctlArgs) edited(text string) string {
	var all []string
	seen := map[string]bool{}
	for _, line := range lines(text) {
		name, value, ok := setting(line)
		switch {
		case !ok:
			all = append(all, strings.TrimSpace(line))
			continue
		case seen[name]:
			continue
		case name != a.Name:
			all = append(all, name+"="+value)
		case a.State == "present":
			all = append(all, name+"="+a.Value)
		}
		seen[name] = true
	}
	if !seen[a.Name] && a.State == "present" {
		all = append(all, a.Name+"="+a.Value)
	}
	return unlines(all)
}
