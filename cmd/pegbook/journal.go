package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pegbook/pegbook/runner"
	"github.com/pegbook/pegbook/runner/journal"
	"github.com/pegbook/pegbook/runner/secret"
)

// homeDir is the folder that holds what pegbook keeps of its runs.
func homeDir() (string, error) {
	if dir := os.Getenv("PEGBOOK_HOME"); dir != "" {
		return filepath.Abs(dir)
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("there is no home folder to keep the journal of runs in: %w; set PEGBOOK_HOME", err)
	}
	return filepath.Join(home, ".pegbook"), nil
}

// openHome opens the home of journals.
func openHome() (*journal.Home, error) {
	dir, err := homeDir()
	if err != nil {
		return nil, err
	}
	return journal.OpenHome(dir)
}

// inputs collects what a plan is made of. Its methods are called from several goroutines.
type inputs struct {
	mu   sync.Mutex // guards the fields below
	seen map[string]bool
	all  []journal.Input
}

// files takes in files that are read for a purpose.
func (in *inputs) files(what string) func(path string, text []byte) {
	if in == nil {
		return nil
	}
	return func(path string, text []byte) {
		sum := sha256.Sum256(text)
		in.add(journal.Input{What: what, Path: path, Digest: hex.EncodeToString(sum[:]), Bytes: int64(len(text))})
	}
}

func (in *inputs) add(i journal.Input) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.seen == nil {
		in.seen = map[string]bool{}
	}
	if key := i.What + "\x00" + i.Path; !in.seen[key] {
		in.seen[key] = true
		in.all = append(in.all, i)
	}
}

func (in *inputs) list() []journal.Input {
	in.mu.Lock()
	defer in.mu.Unlock()
	return slices.Clone(in.all)
}

// home is where the run is kept; nil where nothing is run. That it cannot be kept is said before anybody is asked for
// anything.
func (o *runOptions) home() (*journal.Home, error) {
	if o.explain || o.list != "" {
		return nil, nil
	}
	return openHome()
}

// beginning is what a journal begins with besides the options.
type beginning struct {
	paths     []string // playbooks
	private   journal.Private
	rollsBack string
	forced    bool
}

// keep begins the journal of a run.
func (a *app) keep(cmd *cobra.Command, home *journal.Home, o runOptions, plan *runner.Plan, b beginning) (*journal.Writer, error) {
	now := time.Now()
	dir, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	digest, err := planDigest(plan)
	if err != nil {
		return nil, err
	}
	m := journal.Meta{
		Run: runID(now), Dir: dir, Playbooks: b.paths, Inventory: o.sources(), Limit: o.limit, Tags: o.tags, SkipTags: o.skipTags, Check: o.check,
		RollsBack: b.rollsBack, Forced: b.forced, Plan: digest, Inputs: o.inputs.list(), Sessions: []journal.Session{a.session(cmd, now)},
	}
	for _, arg := range o.extra {
		name := "-e " + shownVariable(arg)
		m.Inputs = append(m.Inputs, journal.Input{What: "variables", Path: name, Digest: home.Digest([]byte(arg)), Bytes: int64(len(arg))})
	}
	return home.Create(m, b.private)
}

// What bounds the runs that are kept: those that came to their end, and those that could be gone on with.
const (
	keepRuns   = "PEGBOOK_KEEP_RUNS"
	keepFailed = "PEGBOOK_KEEP_FAILED"
)

// prune removes the oldest runs that are more than is to be kept. That it could not is told and fails nothing.
func (a *app) prune(home *journal.Home) {
	ended, err := journal.ParseKeep(os.Getenv(keepRuns))
	if err != nil {
		err = fmt.Errorf("%s: %w", keepRuns, err)
	}
	var open journal.Keep // all of them, unless somebody says otherwise
	if text := os.Getenv(keepFailed); err == nil && text != "" {
		if open, err = journal.ParseKeep(text); err != nil {
			err = fmt.Errorf("%s: %w", keepFailed, err)
		}
	}
	if err == nil {
		err = home.Prune(ended, open, time.Now())
	}
	if err != nil {
		fmt.Fprintf(cleaned{a.err}, "pegbook: %s\n", a.secrets.Text(err.Error()))
	}
}

// session says who carries a run on, and how.
func (a *app) session(cmd *cobra.Command, now time.Time) journal.Session {
	s := journal.Session{Argv: shownArgv(cmd, a.secrets), PID: os.Getpid(), Version: version, Started: now.UTC()}
	if u, err := user.Current(); err == nil {
		s.User = u.Username
	}
	s.Host, _ = os.Hostname() //nolint:errcheck // nothing depends on it
	return s
}

// settings are pegbook's own settings in the environment.
func settings() []string {
	var all []string
	for _, e := range os.Environ() {
		if strings.HasPrefix(e, "PEGBOOK_") {
			all = append(all, e)
		}
	}
	return all
}

// planDigest stands for the steps of a plan.
func planDigest(plan *runner.Plan) (string, error) {
	sum := sha256.New()
	if err := json.NewEncoder(sum).Encode(plan.Graph()); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// shownArgv is a command as it may be shown to anybody: every flag that was given, without the values of variables.
func shownArgv(cmd *cobra.Command, secrets *secret.Set) []string {
	words := append(strings.Fields(cmd.CommandPath()), cmd.Flags().Args()...)
	cmd.Flags().Visit(func(f *pflag.Flag) {
		values := []string{f.Value.String()}
		if many, ok := f.Value.(pflag.SliceValue); ok {
			values = many.GetSlice()
		}
		for _, v := range values {
			switch {
			case f.NoOptDefVal != "" && v == f.NoOptDefVal, f.Value.Type() == "func":
				words = append(words, "--"+f.Name)
			case f.Name == "extra-vars":
				words = append(words, "--"+f.Name, shownVariable(v))
			default:
				words = append(words, "--"+f.Name, v)
			}
		}
	})
	for i, w := range words {
		words[i] = secrets.Text(w)
	}
	return words
}

// shownVariable is an argument of -e without its values: a file's name, names, or that there was a mapping.
func shownVariable(arg string) string {
	if strings.HasPrefix(arg, "@") {
		return arg
	}
	name, _, ok := strings.Cut(arg, "=")
	if !ok || strings.ContainsAny(name, "{}[]:\"' \n") {
		return secret.Mask
	}
	return name + "=" + secret.Mask
}

// either is closed when one of two is.
func either(ctx context.Context, first, second <-chan struct{}) <-chan struct{} {
	out := make(chan struct{})
	go func() {
		select {
		case <-first:
		case <-second:
		case <-ctx.Done():
			return
		}
		close(out)
	}()
	return out
}

// sources are the arguments of -i, or what stands for them in the environment.
func (o *selectOptions) sources() []string {
	env := os.Getenv("PEGBOOK_INVENTORY")
	if len(o.inventory) > 0 || env == "" {
		return o.inventory
	}
	return strings.Split(env, ",")
}
