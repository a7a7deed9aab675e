package system

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/pegbook/pegbook/modules"
)

// Dnf installs and removes RPM packages.
func Dnf() *modules.Module {
	return modules.Define("dnf", dnfDoc("dnf"), proposeDnf)
}

// Yum is dnf by the name that older systems know.
func Yum() *modules.Module {
	return modules.Define("yum", dnfDoc("yum"), proposeDnf)
}

func dnfDoc(name string) string {
	return `Install, upgrade or remove packages of RedHat's family

A package is a name, also with version and architecture (nginx-1.24*, glibc.i686), a @group, or an RPM file
on the host by its absolute path; fetch one from an address with get_url first. rpm says what is installed;
where something is missing, dnf, or yum where that is all there is, is asked what it would do, before and in
check mode, so that the differences are exactly what follows. For that it may fetch new lists of packages.

    - name: what the servers need
      ` + name + `:
        name: [java-17-openjdk-headless, libaio]
        enablerepo: [epel]`
}

type dnfArgs struct {
	Name       []string      `arg:"name,alias=pkg" doc:"the packages"`
	State      string        `arg:"state" default:"present" choices:"present,installed,latest,absent,removed" doc:"installed, the newest, or not installed"`
	Update     bool          `arg:"update_cache,alias=expire-cache" doc:"whether lists of packages are fetched, however new they are"`
	UpdateOnly bool          `arg:"update_only" doc:"whether latest leaves packages alone that are not installed"`
	Autoremove bool          `arg:"autoremove" doc:"whether dependencies that nothing needs any more go"`
	Enable     []string      `arg:"enablerepo" doc:"repositories that are used besides"`
	Disable    []string      `arg:"disablerepo" doc:"repositories that are not used"`
	Exclude    []string      `arg:"exclude" doc:"packages that stay out"`
	NoGPG      bool          `arg:"disable_gpg_check" doc:"whether packages without a good signature are allowed"`
	Erase      bool          `arg:"allowerasing" doc:"whether packages in the way may be removed"`
	NoBest     bool          `arg:"nobest" doc:"whether another version than the best will do"`
	SkipBroken bool          `arg:"skip_broken" doc:"whether packages are left out that cannot be installed"`
	WeakDeps   *bool         `arg:"install_weak_deps" doc:"whether recommended packages come along; the host's setting when it is not given"`
	Security   bool          `arg:"security" doc:"whether latest takes security updates only"`
	Bugfix     bool          `arg:"bugfix" doc:"whether latest takes corrections only"`
	Root       string        `arg:"installroot,path" doc:"another root folder to install into"`
	Release    string        `arg:"releasever" doc:"another release of the distribution"`
	Conf       string        `arg:"conf_file,path" doc:"another configuration of dnf"`
	Timeout    time.Duration `arg:"lock_timeout" default:"30" doc:"how long another program's lock is waited for"`
}

// dnfTask is one dnf at work.
type dnfTask struct {
	dnfArgs
	names   []string
	program string
	out     *packageState
	note    func(string, ...any)
}

func proposeDnf(ctx context.Context, call *modules.Call, args dnfArgs) (*modules.Proposal, error) {
	t := &dnfTask{dnfArgs: args, out: &packageState{Results: []string{}}, note: call.Note}
	if err := t.check(); err != nil {
		return nil, err
	}
	calls, err := t.look(ctx, call.Host)
	if err != nil {
		return nil, err
	}
	p := &modules.Proposal{Output: t.out, Predicts: map[string]string{}}
	var acts []packageAct
	for i := range calls {
		found, err := t.simulate(ctx, call.Host, calls[i])
		if err != nil {
			return nil, err
		}
		calls[i].needed = len(found) > 0
		acts = append(acts, found...)
	}
	for _, act := range acts {
		if version, ok := call.Host.Predicted(packageKey(act.name)); ok && version == act.after {
			continue
		}
		p.Diff = append(p.Diff, act.diff())
		t.out.Results = append(t.out.Results, strings.TrimSpace(act.name+" "+act.diff().Note))
		p.Predicts[packageKey(act.name)] = act.after
		if act.after != "" {
			p.Predicts[newPackages] = "yes"
		}
	}
	if len(p.Diff) > 0 {
		t.predictNames(p)
		p.Do = func(ctx context.Context, host modules.Host) error { return t.do(ctx, host, calls) }
	}
	return p, nil
}

// predictNames remembers what was asked for by the names of the task, which may be groups or files.
func (t *dnfTask) predictNames(p *modules.Proposal) {
	for _, name := range t.names {
		left := unknownVersion
		if t.State == "absent" {
			left = ""
		}
		if _, ok := p.Predicts[packageKey(name)]; !ok {
			p.Predicts[packageKey(name)] = left
		}
	}
}

func (t *dnfTask) check() error {
	switch t.State {
	case "installed":
		t.State = "present"
	case "removed":
		t.State = "absent"
	}
	for _, text := range t.Name {
		for name := range strings.SplitSeq(text, ",") {
			name = strings.TrimSpace(name)
			switch {
			case name == "" || name[0] == '-' || strings.ContainsAny(name, "\n"):
				return &modules.ArgumentError{Arg: "name", Problem: fmt.Sprintf("%q is no name of a package", name)}
			case strings.Contains(name, "://"):
				return &modules.ArgumentError{Arg: "name", Problem: "name is " + name, Hint: "fetch the file with get_url and give its path"}
			}
			t.names = append(t.names, name)
		}
	}
	if len(t.names) == 0 && !t.Autoremove {
		return &modules.ArgumentError{Arg: "name", Problem: "there is nothing to do", Hint: "give name, or autoremove: true"}
	}
	return nil
}

// dnfCall is one call of dnf.
type dnfCall struct {
	verb, what []string
	needed     bool
}

// look finds out what is to be asked of dnf: nothing where rpm says that all is as it should be.
func (t *dnfTask) look(ctx context.Context, host modules.Host) ([]dnfCall, error) {
	// It says which program there is, and of each name whether it is installed. It changes nothing.
	const probe = adminPath + `
for p in dnf yum; do command -v $p >/dev/null && { echo "program $p"; break; }; done
root=$1; shift
for name do
  f=$name; case $name in /*.rpm) f=$(rpm -qp --qf '%{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}' "$name" 2>/dev/null) || { echo "nofile $name"; continue; };; esac
  if rpm ${root:+--root "$root"} -q "$f" >/dev/null 2>&1; then echo "there $name"; fi
done`
	argv := append([]string{"/bin/sh", "-c", probe, "sh", t.Root}, t.names...)
	out, err := host.Run(ctx, modules.Command{Argv: argv, ReadOnly: true, Env: map[string]string{"LC_ALL": "C"}})
	if err != nil {
		return nil, err
	}
	there := map[string]bool{}
	for _, line := range lines(string(out.Stdout)) {
		key, value, _ := strings.Cut(line, " ")
		switch key {
		case "program":
			t.program = value
		case "there":
			there[value] = true
		case "nofile":
			return nil, fmt.Errorf("%s is no RPM package on the host", value)
		}
	}
	if t.program == "" {
		return nil, errors.New("there is neither dnf nor yum on the host; package finds the host's own package manager")
	}
	predicted := map[string]bool{}
	for _, name := range t.names {
		if version, ok := host.Predicted(packageKey(name)); ok {
			there[name], predicted[name] = version != "", true
		}
	}
	return slices.DeleteFunc(t.decide(there, predicted), func(c dnfCall) bool { return len(c.what) == 0 }), nil
}

// decide chooses dnf's calls. install leaves alone what is there, so that latest takes two.
func (t *dnfTask) decide(there, predicted map[string]bool) []dnfCall {
	pick := func(keep func(string) bool) []string {
		return slices.DeleteFunc(slices.Clone(t.names), func(name string) bool { return !keep(name) })
	}
	missing := pick(func(n string) bool { return !there[n] })
	switch {
	case t.State == "present":
		return []dnfCall{{verb: []string{"install"}, what: missing}}
	case len(t.names) == 0:
		return []dnfCall{{verb: nil, what: []string{"autoremove"}}}
	case t.State == "absent":
		// rpm does not know patterns and groups, so dnf decides about these.
		gone := pick(func(n string) bool { return there[n] || strings.ContainsAny(n, "*?[@") && !predicted[n] })
		return []dnfCall{{verb: []string{"remove"}, what: gone}}
	}
	calls := []dnfCall{{verb: t.upgrade(), what: pick(func(n string) bool { return there[n] && !predicted[n] })}}
	if slices.Equal(t.names, []string{"*"}) {
		return []dnfCall{{verb: t.upgrade(), what: []string{"*"}}}
	}
	if !t.UpdateOnly {
		calls = append(calls, dnfCall{verb: []string{"install"}, what: missing})
	}
	return calls
}

func (t *dnfTask) upgrade() []string {
	verb := []string{"upgrade"}
	if t.Security {
		verb = append(verb, "--security")
	}
	if t.Bugfix {
		verb = append(verb, "--bugfix")
	}
	return verb
}

// command is the program with all options of the task.
func (t *dnfTask) command(answer string, c dnfCall) []string {
	argv := []string{t.program, answer, "-q"}
	if answer == "--assumeno" {
		argv = argv[:2] // the transaction is what it prints
	}
	for _, o := range []struct {
		given  bool
		option string
	}{
		{t.NoGPG, "--nogpgcheck"}, {t.Erase, "--allowerasing"}, {t.NoBest, "--nobest"}, {t.SkipBroken, "--skip-broken"},
		{t.Update && t.program == "dnf", "--refresh"}, {t.Root != "", "--installroot=" + t.Root}, {t.Release != "", "--releasever=" + t.Release},
		{t.Conf != "", "--config=" + t.Conf},
		{t.WeakDeps != nil && *t.WeakDeps, "--setopt=install_weak_deps=True"}, {t.WeakDeps != nil && !*t.WeakDeps, "--setopt=install_weak_deps=False"},
		{t.State == "absent", "--setopt=clean_requirements_on_remove=" + map[bool]string{true: "True", false: "False"}[t.Autoremove]},
	} {
		if o.given {
			argv = append(argv, o.option)
		}
	}
	for _, o := range []struct {
		option string
		values []string
	}{{"--enablerepo=", t.Enable}, {"--disablerepo=", t.Disable}, {"--exclude=", t.Exclude}} {
		if len(o.values) > 0 {
			argv = append(argv, o.option+strings.Join(o.values, ","))
		}
	}
	return slices.Concat(argv, c.verb, c.what)
}

// simulate asks dnf what it would do; it answers itself with no.
func (t *dnfTask) simulate(ctx context.Context, host modules.Host, c dnfCall) ([]packageAct, error) {
	cmd := script(t.command("--assumeno", c))
	cmd.ReadOnly = true
	out, err := host.Run(ctx, cmd)
	var exit *modules.ExitError
	if errors.As(err, &exit) {
		out = exit.Output
	}
	text := string(out.Stdout)
	acts := readTransaction(text)
	switch {
	case err == nil || len(acts) > 0 && exit != nil && exit.ExitCode == 1:
		return acts, nil
	case exit != nil && (strings.Contains(text, "Nothing to do") || strings.Contains(string(exit.Stderr), "Nothing to do")) && !dnfUnknown.MatchString(text+string(exit.Stderr)):
		return nil, nil
	}
	return nil, t.explain(err)
}

var dnfUnknown = regexp.MustCompile(`(?:No match for argument|No package|Unable to find a match|No packages marked for removal)[:]? *(\S+)`)

// explain says in one line why dnf did not do it.
func (t *dnfTask) explain(err error) error {
	var exit *modules.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	said := string(exit.Stderr) + "\n" + string(exit.Stdout)
	if m := dnfUnknown.FindStringSubmatch(said); m != nil {
		return fmt.Errorf("there is no package %s; is the name right, and its repository there (enablerepo)?", m[1])
	}
	var problems []string
	for _, line := range lines(said) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "Error:") || strings.HasPrefix(line, "Problem") || strings.HasPrefix(line, "- ") {
			problems = append(problems, line)
		}
	}
	if len(problems) == 0 {
		return err
	}
	return fmt.Errorf("%s: %s: %w", t.program, strings.Join(problems, "; "), err)
}

// transactionAct reads one of the headings of a transaction; empty for another line.
func transactionAct(heading string) string {
	for _, act := range []string{"Installing", "Upgrading", "Updating", "Downgrading", "Reinstalling", "Removing", "Erasing"} {
		if strings.HasPrefix(heading, act) {
			return act
		}
	}
	return ""
}

// readTransaction reads the table that dnf and yum print before they ask. A name too long for its column
// stands in a line of its own.
func readTransaction(text string) []packageAct {
	var acts []packageAct
	doing, pending := "", ""
	for _, line := range lines(text) {
		fields := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "Transaction Summary"):
			return acts
		case strings.HasSuffix(line, ":") && transactionAct(strings.TrimSpace(line)) != "":
			doing, pending = transactionAct(strings.TrimSpace(line)), ""
		case doing == "" || len(fields) == 0 || line[0] != ' ' || fields[0] == "replacing":
		case len(fields) == 1 && pending == "":
			pending = fields[0]
		default:
			if pending != "" {
				fields, pending = append([]string{pending}, fields...), ""
			}
			if len(fields) < 4 {
				continue
			}
			act := packageAct{name: fields[0], after: fields[2]}
			switch doing {
			case "Removing", "Erasing":
				act = packageAct{name: fields[0], before: fields[2]}
			case "Upgrading", "Updating":
				act.note = "is upgraded to " + fields[2]
			case "Downgrading":
				act.note = "is downgraded to " + fields[2]
			}
			acts = append(acts, act)
		}
	}
	return acts
}

// do lets dnf do it.
func (t *dnfTask) do(ctx context.Context, host modules.Host, calls []dnfCall) error {
	for _, c := range calls {
		if !c.needed {
			continue
		}
		out, err := t.locked(ctx, host, t.command("-y", c))
		t.out.Stdout, t.out.Stderr = t.out.Stdout+string(out.Stdout), t.out.Stderr+string(out.Stderr)
		if err != nil {
			return t.explain(err)
		}
	}
	return nil
}

// locked waits while another program has dnf's lock.
func (t *dnfTask) locked(ctx context.Context, host modules.Host, argv []string) (modules.Output, error) {
	for deadline := time.Now().Add(t.Timeout); ; {
		out, err := host.Run(ctx, script(argv))
		var exit *modules.ExitError
		if !errors.As(err, &exit) {
			return out, err
		}
		said := string(exit.Stderr) + string(exit.Stdout)
		if !strings.Contains(said, "Waiting for process") && !strings.Contains(said, "Existing lock") || time.Now().After(deadline) {
			return out, err
		}
		t.note("waits for the lock of another %s", t.program)
		if err := sleep(ctx, lockTries); err != nil {
			return out, err
		}
	}
}
