package system

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pegbook/pegbook/modules"
)

// Apt installs and removes Debian packages.
func Apt() *modules.Module {
	return modules.Define("apt", `Install, upgrade or remove packages of Debian and Ubuntu

A package is a name, name=version (the version may hold * and ?) or name>=version. apt-get itself is asked
what it would do, before and in check mode, so that the differences are exactly what follows: dependencies,
upgrades and removals with their versions. Looking takes a round trip when all is well and two when not.

update_cache fetches the package lists when they are older than cache_valid_time; where that is not given,
each time, and with packages given only their change counts. latest and upgrade with lists to fetch first
cannot be known in check mode. Another program that holds a lock is waited for, up to lock_timeout.

deb is a file on the host, or several with commas between; fetch one from an address with get_url first.
aptitude is not used. A pattern as a name is only for state: absent, except "*" with latest: all packages.

    - name: what the servers need
      apt:
        name: [openjdk-17-jre-headless, "libaio1=0.3.*"]
        update_cache: true
        cache_valid_time: 3600`, proposeApt)
}

type aptArgs struct {
	Package    []string      `arg:"package,alias=name,alias=pkg" doc:"the packages"`
	State      string        `arg:"state" default:"present" choices:"present,latest,absent,build-dep,fixed" doc:"installed, the newest, not installed, what building them needs, or broken installations mended"`
	Update     *bool         `arg:"update_cache,alias=update-cache" doc:"whether the package lists are fetched first"`
	Valid      int           `arg:"cache_valid_time" doc:"seconds for which package lists are new enough; implies update_cache"`
	Retries    int           `arg:"update_cache_retries" default:"5" doc:"how often fetching the lists is tried"`
	Delay      time.Duration `arg:"update_cache_retry_max_delay" default:"12" doc:"longest pause between these"`
	Deb        string        `arg:"deb" doc:"package files on the host, instead of package"`
	Upgrade    string        `arg:"upgrade" default:"no" choices:"no,yes,safe,full,dist" doc:"whether all packages are upgraded; full and dist also remove some for it"`
	Release    string        `arg:"default_release,alias=default-release" doc:"the release to prefer, as apt-get -t"`
	Recommends *bool         `arg:"install_recommends,alias=install-recommends" doc:"whether recommended packages come along; the host's setting when it is not given"`
	Only       bool          `arg:"only_upgrade" doc:"whether packages that are not installed stay so"`
	Purge      bool          `arg:"purge" doc:"whether settings go with a package"`
	Autoremove bool          `arg:"autoremove" doc:"whether dependencies that nothing needs any more go"`
	NoRemove   bool          `arg:"fail_on_autoremove" doc:"whether it is an error that a package would go"`
	Autoclean  bool          `arg:"autoclean" doc:"whether package files go that cannot be fetched any more"`
	Clean      bool          `arg:"clean" doc:"whether all fetched package files go"`
	Options    string        `arg:"dpkg_options" default:"force-confdef,force-confold" doc:"options for dpkg, separated by commas"`
	Force      bool          `arg:"force" doc:"whether unsigned packages, downgrades and changes of held packages are allowed"`
	Unsigned   bool          `arg:"allow_unauthenticated,alias=allow-unauthenticated" doc:"whether packages without signature are allowed"`
	Downgrade  bool          `arg:"allow_downgrade,alias=allow-downgrade,alias=allow_downgrades,alias=allow-downgrades" doc:"whether an older version may take the place of a newer"`
	Held       bool          `arg:"allow_change_held_packages" doc:"whether packages on hold may change"`
	AptGet     bool          `arg:"force_apt_get" doc:"taken for Ansible's sake: apt-get is always used"`
	Timeout    time.Duration `arg:"lock_timeout" default:"60" doc:"how long another program's lock is waited for"`
}

// packageState is what apt, dnf and package register.
type packageState struct {
	Stdout  string   `json:"stdout"`
	Stderr  string   `json:"stderr"`
	Results []string `json:"results"` // what was done, a line for each package
	// Updated and UpdateTime are about the package lists; they are there where these were asked for.
	Updated    *bool  `json:"cache_updated,omitempty"`
	UpdateTime *int64 `json:"cache_update_time,omitempty"`
}

// aptTask is one apt at work.
type aptTask struct {
	aptArgs
	specs []packageSpec
	host  aptHost
	out   *packageState
	note  func(string, ...any)
	// update says that lists are fetched first.
	update bool
	// newLists says that an earlier task of a check-mode run would have fetched them.
	newLists bool
	// missing are packages that the lists do not have.
	missing []string
}

func proposeApt(ctx context.Context, call *modules.Call, args aptArgs) (*modules.Proposal, error) {
	t := &aptTask{aptArgs: args, out: &packageState{Results: []string{}}, note: call.Note}
	if err := t.check(); err != nil {
		return nil, err
	}
	if err := t.look(ctx, call.Host); err != nil {
		return nil, err
	}
	p := &modules.Proposal{Output: t.out, Predicts: map[string]string{}}
	if t.update {
		p.Predicts[listsKey] = "new"
		if !t.works() {
			p.Diff = append(p.Diff, modules.Diff{Subject: "package lists", Note: "are fetched"})
		}
	}
	steps, err := t.plan(ctx, call.Host)
	if err != nil {
		return nil, err
	}
	t.describe(p, steps)
	if len(p.Diff) == 0 && !t.update {
		return p, nil
	}
	if t.update && len(p.Diff) == 0 && (t.State == "latest" || t.Upgrade != "no") {
		p.Predicts = nil // what the new lists bring is not known
	}
	p.Do = func(ctx context.Context, host modules.Host) error { return t.do(ctx, host, p, steps) }
	return p, nil
}

// listsKey is predicted when package lists would have been fetched in this run.
const listsKey = "apt/lists"

// works says whether the task is about more than package lists.
func (t *aptTask) works() bool {
	return len(t.specs) > 0 || t.Deb != "" || t.Upgrade != "no" || t.Autoremove || t.Autoclean || t.Clean || t.State == "fixed"
}

func (t *aptTask) check() error {
	if given := count(len(t.Package) > 0, t.Deb != "", t.Upgrade != "no"); given > 1 {
		return &modules.ArgumentError{Arg: "deb", Problem: "package, deb and upgrade exclude each other", Hint: "give one of them"}
	}
	if t.Deb != "" && t.State != "present" {
		return &modules.ArgumentError{Arg: "state", Problem: "deb only installs", Hint: "name the package to remove it"}
	}
	for _, file := range t.debs() {
		if strings.Contains(file, "://") || !strings.HasPrefix(file, "/") {
			return &modules.ArgumentError{Arg: "deb", Problem: "deb is " + file, Hint: "write an absolute path on the host; get_url fetches from an address"}
		}
	}
	if slices.Equal(t.Package, []string{"*"}) && t.State == "latest" {
		t.Package, t.Upgrade = nil, "yes"
	}
	for _, text := range t.Package {
		for name := range strings.SplitSeq(text, ",") {
			spec, err := parseSpec(strings.TrimSpace(name), t.State == "absent")
			if err != nil {
				return err
			}
			t.specs = append(t.specs, spec)
		}
	}
	t.update = t.Update != nil && *t.Update || t.Update == nil && t.Valid > 0
	if !t.update && !t.works() {
		return &modules.ArgumentError{Arg: "package", Problem: "there is nothing to do", Hint: "give package, deb, upgrade, update_cache or autoremove"}
	}
	return nil
}

func (t *aptTask) debs() []string {
	if t.Deb == "" {
		return nil
	}
	return strings.Split(t.Deb, ",")
}

func count(all ...bool) int {
	n := 0
	for _, one := range all {
		if one {
			n++
		}
	}
	return n
}

// step is one call of apt-get.
type step struct {
	verb []string
	what []string
	// acts is what it would do, by its own word.
	acts []packageAct
	// marks are packages that are there and only become wanted by themselves.
	marks []string
}

// plan decides which calls are needed, and asks apt-get what each would do.
func (t *aptTask) plan(ctx context.Context, host modules.Host) ([]step, error) {
	var steps []step
	add := func(what []string, verb ...string) { steps = append(steps, step{verb: verb, what: what}) }
	var wanted []string
	switch {
	case t.Deb != "":
		if wanted = t.newDebs(); len(wanted) > 0 {
			add(wanted, "install")
		}
	case t.Upgrade == "yes" || t.Upgrade == "safe":
		add(nil, "upgrade", "--with-new-pkgs")
	case t.Upgrade != "no":
		add(nil, "dist-upgrade")
	case t.State == "absent":
		if wanted = t.installed(); len(wanted) > 0 {
			add(wanted, "remove")
		}
	case t.State == "build-dep":
		add(t.names(), "build-dep")
	case t.State == "fixed":
		add(t.names(), "--fix-broken", "install")
	default:
		if wanted = t.unsatisfied(); len(wanted) > 0 {
			add(wanted, "install")
		}
	}
	if len(t.specs) == 0 && t.Deb == "" && t.Upgrade == "no" && t.Autoremove {
		add(nil, "autoremove")
	}
	var err error
	for i := range steps {
		if err = t.simulate(ctx, host, &steps[i]); err != nil {
			return nil, err
		}
	}
	if t.Autoclean {
		add(nil, "autoclean")
	}
	if t.Clean {
		add(nil, "clean")
	}
	if err := t.cleaning(ctx, host, steps); err != nil {
		return nil, err
	}
	return t.mark(steps), nil
}

// mark adds packages that are installed for another's sake and that the task wants by themselves: else
// they would go when the other goes.
func (t *aptTask) mark(steps []step) []step {
	if t.State != "present" && t.State != "latest" {
		return steps
	}
	var marks []string
	for _, spec := range t.specs {
		if t.host.auto[spec.name] && t.host.packages[spec.name].installed() {
			marks = append(marks, spec.name)
		}
	}
	if len(marks) == 0 {
		return steps
	}
	return append(steps, step{marks: marks})
}

// describe puts what apt-get would do into the proposal.
func (t *aptTask) describe(p *modules.Proposal, steps []step) {
	for _, s := range steps {
		for _, act := range s.acts {
			p.Diff = append(p.Diff, act.diff())
			t.out.Results = append(t.out.Results, strings.TrimSpace(act.name+" "+act.diff().Note))
			if act.name != "" {
				p.Predicts[packageKey(act.name)] = act.after
				if act.after != "" {
					p.Predicts[newPackages] = "yes"
				}
			}
		}
		for _, name := range s.marks {
			p.Diff = append(p.Diff, modules.Diff{Subject: "package " + name, Note: "is marked as wanted by itself"})
			p.Predicts["package-wanted/"+name] = "yes"
		}
	}
	for _, name := range t.missing {
		p.Diff = append(p.Diff, modules.Diff{Subject: "package " + name, Note: "is installed as the new package lists have it"})
		p.Predicts[packageKey(name)], p.Predicts[newPackages] = unknownVersion, "yes"
	}
}

// newPackages is predicted when a package would have been installed in this run: a service may come with it.
const newPackages = "packages/new"

// unknownVersion is predicted for a package whose version nobody knows yet.
const unknownVersion = "?"

func packageKey(name string) string { return "package/" + name }

// do fetches the lists where they are due, and then does what was planned. With new lists the plan is
// made again: versions may be others, and with latest more than was seen before.
func (t *aptTask) do(ctx context.Context, host modules.Host, p *modules.Proposal, steps []step) error {
	if t.update {
		if err := t.fetchLists(ctx, host); err != nil {
			return err
		}
		t.update, t.missing = false, nil
		again, err := t.plan(ctx, host)
		if err != nil {
			return err
		}
		if steps = again; len(p.Diff) == 0 {
			fresh := &modules.Proposal{Predicts: map[string]string{}}
			t.out.Results = t.out.Results[:0]
			t.describe(fresh, steps)
			p.Diff = fresh.Diff
		}
	}
	for _, s := range steps {
		if len(s.acts) == 0 && len(s.marks) == 0 {
			continue
		}
		argv := slices.Concat(t.aptGet(s.verb...), s.what)
		if len(s.marks) > 0 {
			argv = append([]string{"apt-mark", "manual"}, s.marks...)
		}
		out, err := t.locked(ctx, host, argv)
		t.out.Stdout, t.out.Stderr = t.out.Stdout+string(out.Stdout), t.out.Stderr+string(out.Stderr)
		if err != nil {
			return t.explain(ctx, host, err)
		}
	}
	return nil
}

// aptGet is the program with all options of the task.
func (t *aptTask) aptGet(verb ...string) []string {
	argv := []string{"apt-get", "-y", "-q"}
	for option := range strings.SplitSeq(t.Options, ",") {
		if option != "" {
			argv = append(argv, "-o", "Dpkg::Options::=--"+strings.TrimPrefix(option, "--"))
		}
	}
	for _, o := range []struct {
		given  bool
		option string
	}{
		{t.Purge, "--purge"}, {t.Autoremove, "--auto-remove"}, {t.NoRemove, "--no-remove"}, {t.Only, "--only-upgrade"},
		{t.Unsigned || t.Force, "--allow-unauthenticated"}, {t.Downgrade || t.Force, "--allow-downgrades"},
		{t.Held || t.Force, "--allow-change-held-packages"},
		{t.Recommends != nil && *t.Recommends, "--install-recommends"}, {t.Recommends != nil && !*t.Recommends, "--no-install-recommends"},
	} {
		if o.given {
			argv = append(argv, o.option)
		}
	}
	if t.Release != "" {
		argv = append(argv, "-t", t.Release)
	}
	return append(argv, verb...)
}

// fetchLists fetches package lists, several times where it fails.
func (t *aptTask) fetchLists(ctx context.Context, host modules.Host) error {
	delay := time.Second
	for n := 1; ; n++ {
		out, err := t.locked(ctx, host, []string{"apt-get", "-q", "update"})
		var exit *modules.ExitError
		if err == nil && strings.Contains(string(out.Stderr), "Failed to fetch") { // apt-get ends with 0 then
			err = &modules.ExitError{Argv: []string{"apt-get"}, Output: out}
		}
		if err == nil {
			updated, now := true, out.Ended.Unix()
			t.out.Updated, t.out.UpdateTime = &updated, &now
			return nil
		}
		if !errors.As(err, &exit) || ctx.Err() != nil {
			return err
		}
		if n >= t.Retries {
			return fmt.Errorf("fetch package lists, tried %d times: %w", n, err)
		}
		t.note("package lists cannot be fetched; trying again in %s", delay)
		if err := sleep(ctx, delay); err != nil {
			return err
		}
		delay = min(2*delay, t.Delay)
	}
}

// sleep waits, or ends with the reason why ctx is over.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
