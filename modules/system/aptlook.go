package system

import (
	"context"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pegbook/pegbook/modules"
)

// packageSpec is a package as a task names it.
type packageSpec struct {
	text, name string
	// relation is =, >= or empty; version belongs to it.
	relation, version string
}

func parseSpec(text string, pattern bool) (packageSpec, error) {
	s := packageSpec{text: text, name: text}
	if i := strings.IndexByte(text, '='); i > 0 {
		s.name, s.relation, s.version = text[:i], "=", text[i+1:]
		if strings.HasSuffix(s.name, ">") {
			s.name, s.relation = s.name[:i-1], ">="
		}
	}
	problem := func(what, hint string) (packageSpec, error) {
		return s, &modules.ArgumentError{Arg: "package", Problem: fmt.Sprintf("package is %q, %s", text, what), Hint: hint}
	}
	switch {
	case s.name == "" || s.name[0] == '-' || strings.ContainsAny(s.name, " /\n"):
		return problem("which is no name", "write a name, name=version or name>=version")
	case s.relation != "" && (s.version == "" || strings.Contains(s.version, "=")):
		return problem("which has no version", "write name=version or name>=version")
	case !pattern && strings.ContainsAny(s.name, "*?[]!"):
		return problem("a pattern", "name each package; patterns are for state: absent")
	}
	return s, nil
}

// fits says whether a version is one that the task wants.
func (s packageSpec) fits(version string) bool {
	switch s.relation {
	case "=":
		ok, err := path.Match(s.version, version)
		return s.version == version || err == nil && ok
	case ">=":
		return version == unknownVersion || compareVersions(version, s.version) >= 0
	}
	return true
}

// aptPackage is a package as dpkg knows it: its status in two letters, what is wanted and what is.
type aptPackage struct{ status, version string }

func (p aptPackage) installed() bool {
	return len(p.status) > 1 && strings.Contains("itW", p.status[1:2])
}

// configured says whether settings of it are there, though it may be removed.
func (p aptPackage) configured() bool {
	return p.installed() || len(p.status) > 1 && p.status[1] == 'c'
}

// aptHost is what the host says.
type aptHost struct {
	packages map[string]aptPackage
	auto     map[string]bool
	// predicted packages are as an earlier task of a check-mode run would have left them.
	predicted map[string]bool
	// debs are the name and version of package files.
	debs map[string][2]string
	// stamp is when package lists were fetched, now the host's time, in seconds.
	stamp, now int64
	// interrupted says that dpkg was ended in its work.
	interrupted bool
	fetched     int // package files
}

// aptProbe prints what dpkg and apt keep in files, as lines of a word and values. It changes nothing. Its
// arguments are names, then -- and package files.
const aptProbe = `exec 2>/dev/null; ` + adminPath + `
command -v apt-get >/dev/null || { echo none; exit 0; }
n=$#; names=; while [ $# -gt 0 ] && [ "$1" != -- ]; do
  dpkg-query -W -f='package ${binary:Package} ${db:Status-Abbrev} ${Version}\n' "$1"
  sed -n "/^Package: ${1%%:*}\$/,/^\$/{/^Auto-Installed: 1/s/.*/auto ${1%%:*}/p}" /var/lib/apt/extended_states
  shift
done
shift
for f do
  d=$(dpkg-deb -W --showformat='${Package} ${Version}' "$f" || echo -); echo "deb $d $f"
  dpkg-query -W -f='package ${binary:Package} ${db:Status-Abbrev} ${Version}\n' "${d%% *}"
done
echo "stamp $(stat -c %Y /var/lib/apt/periodic/update-success-stamp || stat -c %Y /var/lib/apt/lists || echo 0)"
echo "now $(date +%s)"
for f in /var/lib/dpkg/updates/*; do case ${f##*/} in [0-9]*) echo "interrupted $f";; esac; done
for f in /var/cache/apt/archives/*.deb; do [ -e "$f" ] && echo "fetched $f"; done
true`

// look asks for all that needs no work of apt-get.
func (t *aptTask) look(ctx context.Context, host modules.Host) error {
	argv := []string{"/bin/sh", "-c", aptProbe, "sh"}
	for _, s := range t.specs {
		argv = append(argv, s.name)
	}
	argv = append(append(argv, "--"), t.debs()...)
	out, err := host.Run(ctx, modules.Command{Argv: argv, ReadOnly: true, Env: map[string]string{"LC_ALL": "C"}})
	if err != nil {
		return err
	}
	if t.host, err = readAptHost(string(out.Stdout)); err != nil {
		return err
	}
	for _, deb := range t.host.debs {
		t.predict(host, deb[0])
	}
	for _, s := range t.specs {
		t.predict(host, s.name)
	}
	if t.host.interrupted && t.State != "fixed" && t.works() {
		return errors.New("dpkg was interrupted before and has to finish its work; give state: fixed in a task before, or run dpkg --configure -a")
	}
	for file, deb := range t.host.debs {
		if deb[0] == "" {
			return fmt.Errorf("%s is no Debian package on the host", file)
		}
	}
	if t.update {
		updated := false
		t.out.Updated, t.out.UpdateTime = &updated, &t.host.stamp
	}
	_, t.newLists = host.Predicted(listsKey)
	if t.newLists || t.host.now-t.host.stamp <= int64(t.Valid) && t.Valid > 0 {
		t.update = false
	}
	return nil
}

// predict puts what an earlier task of a check-mode run would have left over what is there.
func (t *aptTask) predict(host modules.Host, name string) {
	if version, ok := host.Predicted(packageKey(name)); ok {
		t.host.packages[name] = aptPackage{"ii", version}
		if version == "" {
			t.host.packages[name] = aptPackage{status: "un"}
		}
		t.host.predicted[name] = true
	}
	if _, ok := host.Predicted("package-wanted/" + name); ok {
		delete(t.host.auto, name)
	}
}

func readAptHost(text string) (aptHost, error) {
	h := aptHost{packages: map[string]aptPackage{}, auto: map[string]bool{}, predicted: map[string]bool{}, debs: map[string][2]string{}}
	for _, line := range lines(text) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0:
		case fields[0] == "none":
			return h, errors.New("there is no apt-get on the host; package finds the host's own package manager")
		case fields[0] == "package" && len(fields) > 2:
			p := aptPackage{status: fields[2]}
			if len(fields) > 3 {
				p.version = fields[3]
			}
			h.packages[fields[1]] = p
			if name, _, ok := strings.Cut(fields[1], ":"); ok && !h.packages[name].installed() {
				h.packages[name] = p
			}
		case fields[0] == "auto" && len(fields) > 1:
			h.auto[fields[1]] = true
		case fields[0] == "deb" && len(fields) > 3:
			h.debs[strings.Join(fields[3:], " ")] = [2]string{fields[1], fields[2]}
		case fields[0] == "deb" && len(fields) > 2:
			h.debs[strings.Join(fields[2:], " ")] = [2]string{}
		case fields[0] == "stamp" && len(fields) > 1:
			h.stamp, _ = strconv.ParseInt(fields[1], 10, 64)
		case fields[0] == "now" && len(fields) > 1:
			h.now, _ = strconv.ParseInt(fields[1], 10, 64)
		case fields[0] == "interrupted":
			h.interrupted = true
		case fields[0] == "fetched":
			h.fetched++
		}
	}
	return h, nil
}

func (t *aptTask) names() []string {
	var names []string
	for _, s := range t.specs {
		names = append(names, s.name)
	}
	return names
}

// newDebs are the package files whose version is not installed.
func (t *aptTask) newDebs() []string {
	var files []string
	for _, file := range t.debs() {
		deb := t.host.debs[file]
		if have := t.host.packages[deb[0]]; !have.installed() || have.version != deb[1] {
			files = append(files, file)
		}
	}
	return files
}

// unsatisfied are the packages to hand to apt-get install.
func (t *aptTask) unsatisfied() []string {
	var texts []string
	for _, s := range t.specs {
		have := t.host.packages[s.name]
		switch {
		case !have.installed() && t.Only:
			continue
		case have.installed() && s.fits(have.version) && (t.State == "present" || t.host.predicted[s.name]):
			continue
		}
		if s.relation == "=" {
			texts = append(texts, s.text)
		} else {
			texts = append(texts, s.name)
		}
	}
	return texts
}

// installed are the packages to hand to apt-get remove, patterns by what they stand for.
func (t *aptTask) installed() []string {
	var names []string
	for _, s := range t.specs {
		for name, have := range t.host.packages {
			bare, _, _ := strings.Cut(name, ":")
			ok, err := path.Match(s.name, name)
			if bare != name && s.name != name || !ok && s.name != name || err != nil && s.name != name {
				continue
			}
			if have.installed() && (s.relation == "" || s.fits(have.version)) || t.Purge && have.configured() {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// packageAct is one thing that apt-get would do.
type packageAct struct {
	name, before, after string
	note                string
}

func (a packageAct) diff() modules.Diff {
	d := modules.Diff{Subject: "package " + a.name, Note: a.note}
	switch {
	case a.note != "":
	case a.after == "" && a.before == "":
		d.Note = "is purged"
	case a.after == "":
		d.Note = a.before + " is removed"
	case a.before == "":
		d.Note = a.after + " is installed"
	case a.before == a.after:
		d.Note = a.after + " is installed again"
	default:
		d.Note = a.before + " → " + a.after
	}
	return d
}

var aptInst = regexp.MustCompile(`^Inst (\S+)(?: \[([^\]]*)\])? \((\S+)`)
var aptRemv = regexp.MustCompile(`^(Remv|Purg) (\S+)(?: \[([^\]]*)\])?`)

// readActs reads what apt-get --simulate prints.
func readActs(text string) []packageAct {
	var acts []packageAct
	gone := map[string]bool{}
	for _, line := range lines(text) {
		if m := aptInst.FindStringSubmatch(line); m != nil {
			acts = append(acts, packageAct{name: m[1], before: m[2], after: m[3]})
		}
		if m := aptRemv.FindStringSubmatch(line); m != nil && !gone[m[2]] {
			gone[m[2]] = true
			acts = append(acts, packageAct{name: m[2], before: m[3]})
		}
	}
	return acts
}

// simulate asks apt-get what a step would do. It takes no lock and changes nothing.
func (t *aptTask) simulate(ctx context.Context, host modules.Host, s *step) error {
	if t.State == "absent" && !slices.ContainsFunc(s.what, func(name string) bool { return !t.host.predicted[name] }) {
		for _, name := range s.what {
			s.acts = append(s.acts, packageAct{name: name, before: t.host.packages[name].version})
		}
		return nil
	}
	for _, text := range s.what {
		name, _, _ := strings.Cut(text, "=")
		if have := t.host.packages[name]; t.host.predicted[name] && have.installed() {
			return fmt.Errorf("package %s would be installed earlier in this run: %w", name, modules.ErrUnpredicted)
		}
	}
	argv := slices.Concat(t.aptGet("--simulate"), s.verb, s.what)
	cmd := script(argv)
	cmd.ReadOnly = true
	out, err := host.Run(ctx, cmd)
	if err != nil {
		return t.unknown(ctx, host, s, err)
	}
	s.acts = slices.DeleteFunc(readActs(string(out.Stdout)), func(act packageAct) bool {
		version, ok := host.Predicted(packageKey(act.name))
		return ok && version == act.after
	})
	for _, spec := range t.specs {
		for _, act := range s.acts {
			if act.name == spec.name && act.after != "" && !spec.fits(act.after) {
				return fmt.Errorf("package %s is there in version %s, not %s", spec.name, act.after, spec.text)
			}
		}
	}
	return nil
}

var aptUnknown = regexp.MustCompile(`E: (?:Unable to locate package (\S+)|Package '([^']+)' has no installation candidate|Version '[^']+' for '([^']+)' was not found)`)

// unknown takes an error of a simulation apart. Where package lists are about to be fetched, what they do
// not have yet is no error.
func (t *aptTask) unknown(ctx context.Context, host modules.Host, s *step, err error) error {
	var exit *modules.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	all := aptUnknown.FindAllStringSubmatch(string(exit.Stderr), -1)
	if !t.update && !t.newLists || len(all) == 0 {
		return t.explain(ctx, host, err)
	}
	rest := slices.Clone(s.what)
	for _, m := range all {
		name := m[1] + m[2] + m[3]
		t.missing = append(t.missing, name)
		rest = slices.DeleteFunc(rest, func(text string) bool {
			bare, _, _ := strings.Cut(text, "=")
			return bare == name
		})
	}
	if s.what = rest; len(rest) == 0 {
		return nil
	}
	return t.simulate(ctx, host, s)
}

// explain says in one line why apt-get did not do it, and what to write instead.
func (t *aptTask) explain(ctx context.Context, host modules.Host, err error) error {
	var exit *modules.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	said := string(exit.Stderr)
	if m := aptUnknown.FindStringSubmatch(said); m != nil {
		if m[1] == "" {
			return fmt.Errorf("package %s: %s; apt-cache policy %s lists its versions", m[2]+m[3], strings.TrimPrefix(m[0], "E: "), m[2]+m[3])
		}
		hint := "is the name right, and are the package lists new (update_cache: true)?"
		if near := t.nearest(ctx, host, m[1]); near != "" {
			hint = "did you mean " + near + "? The package lists may be old, too (update_cache: true)"
		}
		return fmt.Errorf("there is no package %s; %s", m[1], hint)
	}
	if strings.Contains(said, "Held packages were changed") || strings.Contains(said, "held broken packages") {
		return fmt.Errorf("%s; apt-mark showhold lists what is on hold, allow_change_held_packages: true changes it", aptErrors(said, string(exit.Stdout)))
	}
	if strings.Contains(said, "dpkg was interrupted") {
		return errors.New("dpkg was interrupted before and has to finish its work; give state: fixed in a task before, or run dpkg --configure -a")
	}
	if lines := aptErrors(said, string(exit.Stdout)); lines != "" {
		return fmt.Errorf("apt-get: %s: %w", lines, err)
	}
	return err
}

// aptErrors are apt-get's own words: its errors, and the lines about dependencies before.
func aptErrors(stderr, stdout string) string {
	var said []string
	for _, line := range lines(stdout) {
		if strings.Contains(line, " : Depends:") || strings.Contains(line, " : Conflicts:") || strings.Contains(line, " : Breaks:") {
			said = append(said, strings.TrimSpace(line))
		}
	}
	for _, line := range lines(stderr) {
		if rest, ok := strings.CutPrefix(line, "E: "); ok {
			said = append(said, rest)
		}
	}
	return strings.Join(said, "; ")
}

// nearest looks for a package whose name is almost the one that was written.
func (t *aptTask) nearest(ctx context.Context, host modules.Host, name string) string {
	out, err := host.Run(ctx, modules.Command{Argv: []string{"apt-cache", "pkgnames", name[:min(2, len(name))]}, ReadOnly: true, MaxOutput: 4 << 20})
	if err != nil {
		return "" // the hint is all that is lost
	}
	best, least := "", 1+max(1, len(name)/4)
	for _, candidate := range lines(string(out.Stdout)) {
		if d := distance(name, candidate, least); d < least {
			best, least = candidate, d
		}
	}
	return best
}

// distance is how many letters differ, or limit when these are at least so many.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		last := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := last
			if a[i-1] != b[j-1] {
				cost++
			}
			last, row[j] = row[j], min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return min(limit, row[len(b)])
}

// cleaning finds out what the steps behind the packages would do.
func (t *aptTask) cleaning(ctx context.Context, host modules.Host, steps []step) error {
	for i := range steps {
		s := &steps[i]
		switch {
		case slices.Equal(s.verb, []string{"clean"}) && t.host.fetched > 0:
			s.acts = []packageAct{{note: fmt.Sprintf("files go: %d", t.host.fetched)}}
		case slices.Equal(s.verb, []string{"autoclean"}):
			cmd := script(t.aptGet("--simulate", "autoclean"))
			cmd.ReadOnly = true
			out, err := host.Run(ctx, cmd)
			if err != nil {
				return t.explain(ctx, host, err)
			}
			if n := strings.Count("\n"+string(out.Stdout), "\nDel "); n > 0 {
				s.acts = []packageAct{{note: fmt.Sprintf("files go: %d", n)}}
			}
		}
	}
	return nil
}

// lockTries is how often a lock is asked for.
const lockTries = 2 * time.Second

// locked runs a program that needs dpkg's or apt's lock, and waits while another one has it.
func (t *aptTask) locked(ctx context.Context, host modules.Host, argv []string) (modules.Output, error) {
	cmd := script(argv)
	cmd.Env["DEBIAN_FRONTEND"], cmd.Env["DEBIAN_PRIORITY"] = "noninteractive", "critical"
	deadline := time.Now().Add(t.Timeout)
	for {
		out, err := host.Run(ctx, cmd)
		var exit *modules.ExitError
		if err == nil || !errors.As(err, &exit) || !lockHeld(string(exit.Stderr)) {
			return out, err
		}
		if time.Now().After(deadline) {
			return out, fmt.Errorf("another program held the lock for %s (lock_timeout): %s", t.Timeout, aptErrors(string(exit.Stderr), ""))
		}
		t.note("waits for the lock: %s", aptErrors(string(exit.Stderr), ""))
		if err := sleep(ctx, lockTries); err != nil {
			return out, err
		}
	}
}

func lockHeld(said string) bool {
	return strings.Contains(said, "Could not get lock") || strings.Contains(said, "Unable to acquire the dpkg frontend lock") ||
		strings.Contains(said, "is another process using it")
}
