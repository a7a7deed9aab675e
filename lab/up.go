package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/pegbook/pegbook/lab/sshhost"
)

// startWithin bounds how long the background process may take until all hosts listen.
const startWithin = 15 * time.Second

// Up starts the lab, or finds it up. It returns when every host and ZooKeeper listen. What playbooks
// left on the hosts, and ZooKeeper's data, is as it was, also after a crash; nothing is deployed.
func Up(ctx context.Context, o Options) (*State, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if o.Dir, err = makeDir(o.Dir); err != nil {
		return nil, err
	}
	unlock, err := lock(ctx, o.Dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	state, err := layout(o)
	if err != nil {
		return nil, err
	}
	if up, err := already(state); up != nil || err != nil {
		return up, err
	}
	if err := furnish(state, o); err != nil {
		return nil, err
	}
	return state, launch(ctx, o, state)
}

// makeDir makes the lab's folder, for its owner alone, and gives its path without symbolic links. It
// refuses a folder that holds something else: Down removes it whole.
func makeDir(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	// Another lab up may be about to name the state file.
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return e.Name() == stateFile+".new" })
	if _, err := os.Stat(filepath.Join(dir, stateFile)); len(entries) > 0 && errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s holds %s and is no lab: choose another folder (PEGBOOK_LAB_HOME), or empty it", dir, entries[0].Name())
	}
	return dir, os.Chmod(dir, 0o700)
}

// already is the lab that is up in the state's folder, if it is the one asked for.
func already(want *State) (*State, error) {
	if _, up := server(want.Dir); !up {
		return nil, nil
	}
	have, err := readState(want.Dir)
	if err != nil {
		return nil, err
	}
	if !reflect.DeepEqual(have.Hosts, want.Hosts) || have.ZooKeeper != want.ZooKeeper || have.Scale != want.Scale {
		return nil, fmt.Errorf("a lab with other hosts, addresses or time scale is up in %s: pegbook lab down first", want.Dir)
	}
	have.AlreadyUp = true
	return have, nil
}

// furnish writes everything the lab's process and its users need.
func furnish(state *State, o Options) error {
	// First, so that the folder is known as a lab's whatever happens next.
	if err := state.write(); err != nil {
		return err
	}
	var err error
	if state.Packages, err = pack(filepath.Join(state.Dir, "packages"), o.PegasusServer, o.Releases...); err != nil {
		return err
	}
	if _, err := sshhost.OpenKey(state.Key); err != nil {
		return err
	}
	var known strings.Builder
	for _, h := range state.Hosts {
		for _, disk := range disks() {
			if err := os.MkdirAll(filepath.Join(h.Home, disk), 0o700); err != nil {
				return err
			}
		}
		key, err := sshhost.OpenKey(hostKey(state, h))
		if err != nil {
			return err
		}
		known.WriteString(key.KnownHost(h.SSH) + "\n")
	}
	text, err := inventory(state, state.Dir)
	if err != nil {
		return err
	}
	return errors.Join(writeFile(state.KnownHosts, []byte(known.String())), writeFile(state.Inventory, text), state.write())
}

// disks are folders of every host that stand for mounted disks.
func disks() []string { return []string{"ssd1", "ssd2", "ssd3"} }

// hostKey is beside the host's folder, not in it: a playbook may empty that.
func hostKey(s *State, h Host) string { return filepath.Join(s.Dir, "hosts", h.Name+".hostkey") }

// launch starts the background process and waits until it says that everything listens.
func launch(ctx context.Context, o Options, state *State) error {
	log, err := os.OpenFile(filepath.Join(state.Dir, "lab.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	argv := append(append([]string{}, o.Server...), state.Dir)
	cmd := exec.Command(argv[0], argv[1:]...) // without ctx: it outlives this command
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = "/", log, log, []*os.File{w}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	w.Close()
	if err != nil {
		return err
	}
	if err := awaitReady(ctx, r); err != nil {
		cmd.Process.Kill() //nolint:errcheck // it has usually ended by itself
		cmd.Wait()         //nolint:errcheck // its words are in err
		return fmt.Errorf("start the lab: %w", err)
	}
	return cmd.Process.Release()
}

// awaitReady reads what the background process says of its start: readyWord, or what is wrong.
func awaitReady(ctx context.Context, r *os.File) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startWithin, fmt.Errorf("its hosts do not listen after %s", startWithin))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { r.SetReadDeadline(time.Now()) }) //nolint:errcheck // a pipe has deadlines
	defer stop()
	p, err := io.ReadAll(r)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	switch said := strings.TrimSpace(string(p)); {
	case said == readyWord:
		return nil
	case said != "":
		return errors.New(said)
	case err != nil:
		return err
	}
	return errors.New("its process ended at once; lab.log in the lab's folder says more")
}
