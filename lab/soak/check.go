package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/pegbook/pegbook/lab"
	"github.com/pegbook/pegbook/lab/stage"
	"github.com/pegbook/pegbook/runner/journal"
)

// goneWithin is how long what a run leaves may be there: a session with ZooKeeper that nobody ended lasts 10 s.
const goneWithin = 20 * time.Second

// judgeEnd looks at how the update has ended, and what it has told.
func (p *play) judgeEnd() {
	codes := p.fault.codes
	if len(codes) == 0 {
		codes = []int{0}
	}
	says := p.run.Says()
	if !slices.Contains(codes, p.code) {
		p.out.mark("exit code %d, and %v are right: %s", p.code, codes, says)
	}
	if p.code < 0 || p.code == 1 {
		return // it was killed, or did not begin
	}
	all := p.run.All()
	if len(all) == 0 || all[len(all)-1].Event != "run_done" || all[len(all)-1].ExitCode != p.code {
		p.out.mark("it ended with %d, and does not say so: %s", p.code, says)
	}
	if p.code != 0 && strings.TrimSpace(says) == "" {
		p.out.mark("it ended with %d without a word", p.code)
	}
}

// judgeSettings looks at the meta servers' settings as the update has left them: as they are due, or it has told the
// command that puts them back. Nobody hears a process that was killed.
func (p *play) judgeSettings(ctx context.Context) error {
	now, err := p.Settings(ctx)
	if err != nil {
		if p.code == 0 {
			return err
		}
		now = err.Error() // no meta server leads because of the fault
	}
	p.out.Left = now
	if p.code < 0 {
		return nil
	}
	due, err := p.due()
	if err != nil || slices.Contains(due, now) {
		return err
	}
	says := p.run.Says()
	if p.code == 0 || !strings.Contains(says, "runs resume "+p.id) && !strings.Contains(says, "--tags restore") {
		p.out.mark("the settings were %q and are %q after exit code %d, and nobody is told how to put them back: %s", p.out.Before, now, p.code, says)
	}
	return nil
}

// judgeClients looks at what clients and the watcher have seen.
func (p *play) judgeClients() {
	if p.out.saw.LostWrites > 0 {
		p.out.mark("%d acknowledged writes were lost: %s", p.out.saw.LostWrites, p.out.saw)
	}
	if p.out.saw.Failures > 0 && !p.fault.failed && p.kind != simple {
		p.out.mark("%d operations failed: %s", p.out.saw.Failures, p.out.saw)
	}
	least := 2
	switch {
	case p.fault.lapse:
		least = 0
	case p.fault.one:
		least = 1
	}
	if p.out.seen.Least < least {
		p.out.mark("%d live copies of %s", p.out.seen.Least, p.out.seen.Which)
	}
}

// after looks at the cluster, the journal and what was left behind, once everything has come to its end.
func (p *play) after(ctx context.Context) error {
	if err := p.Healthy(ctx, wellWithin); err != nil {
		return fmt.Errorf("after it: %w", err)
	}
	settings, err := p.Settings(ctx)
	if err != nil {
		return err
	}
	due, err := p.due()
	if err != nil {
		return err
	}
	if !slices.Contains(due, settings) {
		p.out.mark("the settings were %q and are %q when all is done", p.out.Before, settings)
	}
	if settings != p.out.Before {
		if err := p.Do(ctx, "rolling-update.yml", "--lock-wait", "1m", "--tags", "restore", "-e", "level_after=lively"); err != nil {
			return err
		}
	}
	p.judgeVersions(ctx)
	if p.id != "" {
		p.judgeJournal(ctx)
	}
	for what, left := range map[string]func(context.Context) ([]string, error){
		"the lock is held by":       p.holders,
		"processes are left":        p.processes,
		"temporary files are left":  p.temporary,
		"files are left on hosts":   p.strangers,
		"runs are kept of too many": p.tooMany,
	} {
		if err := p.none(ctx, what, left); err != nil {
			return err
		}
	}
	return nil
}

// judgeVersions looks whether the servers that were to be updated are.
func (p *play) judgeVersions(ctx context.Context) {
	report, err := lab.Status(ctx, p.labDir())
	if err != nil {
		p.out.mark("%v", err)
		return
	}
	want := p.target(p.number).Version
	for _, h := range report.Hosts {
		for _, server := range h.Processes {
			if server.Role == stage.Replica && slices.Contains(p.worked, h.Name) && server.Version != want {
				p.out.mark("%s runs %s, and was to be updated to %s", h.Name, server.Version, want)
			}
		}
	}
}

// shown is what pegbook says of a run that it keeps.
type shown struct {
	State    journal.State
	Sessions []journal.Session
	Standing journal.Standing
}

// show asks what is kept of the update.
func (p *play) show(ctx context.Context) (s shown, err error) {
	text, err := p.Verb(ctx, p.env, "runs", "show", p.id, "--json")
	if err == nil {
		err = json.Unmarshal([]byte(text), &s)
	}
	if err == nil && len(s.Sessions) == 0 {
		err = errors.New("runs show knows no session of " + p.id)
	}
	return s, err
}

// judgeJournal looks whether what is kept of the update opens and is true.
func (p *play) judgeJournal(ctx context.Context) {
	shown, err := p.show(ctx)
	if err != nil {
		p.out.mark("the journal does not open: %v", err)
		return
	}
	code := p.code
	if n := len(p.out.resumed); n > 0 {
		code = p.out.resumed[n-1]
	}
	want := map[int]journal.State{0: journal.Done, 1: journal.Failed, 2: journal.Failed, 4: journal.Failed, 5: journal.Paused, 130: journal.Interrupted, -9: journal.Crashed}[code]
	if shown.State != want {
		p.out.mark("the journal says %q of a run that ended with %d", shown.State, code)
	}
	if len(shown.Standing.Damage) > 0 || len(shown.Standing.InFlight) > 0 && code == 0 {
		p.out.mark("the journal has damage %v and in flight %v", shown.Standing.Damage, shown.Standing.InFlight)
	}
	if end := shown.Sessions[len(shown.Sessions)-1].End; code >= 0 && (end == nil || end.ExitCode != code) {
		p.out.mark("the journal says that the run ended with %+v, and it was %d", end, code)
	}
	p.judgeLog(ctx)
}

// unkept is how much of what a run that is killed has shown need not be in its journal: events are written together with
// those that come within 20 ms.
const unkept = 100 * time.Millisecond

func isEnd(rec stage.Record) bool { return rec.Event == "task_done" }

// mustBeKept is how many of the ends of tasks that a run has shown its journal must have. The run may have been killed
// at any time, also when it had shown its own end.
func mustBeKept(all []stage.Record, code int) (n int) {
	for _, rec := range all {
		if isEnd(rec) && (code >= 0 || all[len(all)-1].Time.Sub(rec.Time) > unkept) {
			n++
		}
	}
	return n
}

// judgeLog looks whether the journal has every event that the update has shown.
func (p *play) judgeLog(ctx context.Context) {
	text, err := p.Verb(ctx, p.env, "runs", "log", p.id, "--json")
	if err != nil {
		p.out.mark("the events do not open: %v", err)
		return
	}
	kept, shown := 0, 0
	for line := range strings.Lines(text) {
		var rec stage.Record
		if json.Unmarshal([]byte(line), &rec) == nil && isEnd(rec) {
			kept++
		}
	}
	for _, run := range p.out.runs {
		if name, _ := run.Named(); name == p.id {
			code, _ := run.Wait() //nolint:errcheck // it has ended
			shown += mustBeKept(run.All(), code)
		}
	}
	if kept < shown {
		p.out.mark("the journal has the ends of %d tasks, and %d were shown", kept, shown)
	}
}

// none waits until something has gone, and marks what does not.
func (p *play) none(ctx context.Context, what string, left func(context.Context) ([]string, error)) error {
	for deadline := time.Now().Add(goneWithin); ; {
		found, err := left(ctx)
		switch {
		case err != nil:
			return err
		case len(found) == 0:
			return nil
		case time.Now().After(deadline):
			p.out.mark("%s: %s", what, strings.Join(found[:min(len(found), 10)], "; "))
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (l *lane) labDir() string { return filepath.Join(l.Dir, "lab") }

// holders are those who hold, or wait for, the lock of the cluster.
func (l *lane) holders(context.Context) ([]string, error) {
	conn, _, err := zk.Connect([]string{l.zooKeeper()}, 10*time.Second, zk.WithLogInfo(false), zk.WithLogger(quiet{}))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	list, _, err := conn.Children("/pegbook/locks/lab")
	return list, err
}

// zooKeeper is its address, which is the one before those of the hosts.
func (l *lane) zooKeeper() string { return fmt.Sprintf("127.78.%d.10:22181", l.Net) }

// quiet is a log that says nothing.
type quiet struct{}

// Printf implements zk.Logger.
func (quiet) Printf(string, ...any) {}

// processes are those of pegbook and of its helpers that have not ended.
func (l *lane) processes(ctx context.Context) ([]string, error) {
	report, err := lab.Status(ctx, l.labDir())
	if err != nil {
		return nil, err
	}
	var found []string
	for _, h := range report.Hosts {
		for _, p := range h.Processes {
			if p.Role == "" {
				found = append(found, fmt.Sprintf("%s: %d %s", h.Name, p.PID, p.Command))
			}
		}
	}
	for _, p := range report.Strays {
		found = append(found, fmt.Sprintf("%d %s", p.PID, p.Command))
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		environ, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "environ")) // of another user's process: not ours
		if strings.Contains("\x00"+string(environ), "\x00PEGBOOK_HOME="+l.Home()+"\x00") {
			words, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline")) // it has just ended
			found = append(found, e.Name()+" "+strings.ReplaceAll(string(words), "\x00", " "))
		}
	}
	return found, nil
}

// temporary are files of pegbook in the control node's folder for temporary files.
func (l *lane) temporary(context.Context) ([]string, error) { return below(l.tmp) }

// below are all files below a folder.
func below(dir string) ([]string, error) {
	var found []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it has gone meanwhile
		}
		if err == nil && path != dir {
			found = append(found, path)
		}
		return err
	})
	return found, err
}

// remote are the files in the hosts' folders for temporary files, the helper's among them.
func (l *lane) remote() (map[string]bool, error) {
	all := map[string]bool{}
	for _, host := range l.Hosts.Names() {
		list, err := below(filepath.Join(l.labDir(), "hosts", host, "tmp"))
		if err != nil {
			return nil, err
		}
		for _, path := range list {
			all[path] = true
		}
	}
	return all, nil
}

// kept begins the name of the folder in which a host keeps what was there before the changes of the last runs, for
// pegbook runs rollback: it is bounded there.
const kept = "pegbook-kept-"

// strangers are files that were not in these folders after the first update, and are not meant to be.
func (l *lane) strangers(context.Context) ([]string, error) {
	now, err := l.remote()
	var found []string
	for path := range now {
		if !l.base[path] && !strings.Contains(path, "/tmp/"+kept) {
			found = append(found, path)
		}
	}
	slices.Sort(found)
	return found, err
}

// keptRuns is how many runs pegbook keeps here, besides those that can be gone on with.
const keptRuns = 10

// tooMany are the runs that are kept when they are too many. An update that was killed when it had ended has removed none:
// the next one does.
func (p *play) tooMany(context.Context) ([]string, error) {
	most := keptRuns
	if p.endedUnpruned {
		most++
	}
	home, err := journal.OpenHome(p.Home())
	if err != nil {
		return nil, err
	}
	runs, err := home.List()
	if err != nil {
		return nil, err
	}
	runs = slices.DeleteFunc(runs, func(r *journal.Run) bool { return r.Resumable() })
	if len(runs) <= most {
		return nil, nil
	}
	return []string{strconv.Itoa(len(runs)) + " of at most " + strconv.Itoa(most)}, nil
}
