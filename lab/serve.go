package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sync/errgroup"

	"github.com/pegbook/pegbook/lab/pegasus"
	"github.com/pegbook/pegbook/lab/sshhost"
	"github.com/pegbook/pegbook/lab/zookeeper"
)

const (
	// readyWord is what the background process writes when everything listens.
	readyWord = "ready"
	// ReadyFD is the file descriptor on which it does so.
	ReadyFD = 3
	pidFile = "lab.pid"
)

// Serve is the background process of the lab in dir: its SSH servers and its ZooKeeper, until ctx is
// done. It tells its start's outcome on ready (see ReadyFD), which it closes. Up starts it.
func Serve(ctx context.Context, dir string, ready io.WriteCloser) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	services, err := listen(ctx, dir, log)
	if err == nil {
		err = writePID(dir)
	}
	if err != nil {
		fmt.Fprintln(ready, err) //nolint:errcheck // Up may have gone
		ready.Close()
		return err
	}
	fmt.Fprintln(ready, readyWord) //nolint:errcheck // Up may have gone
	ready.Close()
	log.Info("the lab is up", "dir", dir)
	group, ctx := errgroup.WithContext(ctx)
	for _, serve := range services {
		group.Go(func() error { return serve(ctx) })
	}
	err = group.Wait()
	log.Info("the lab ends", "err", err)
	return err
}

// listen opens every address of the lab; what it gives serves them.
func listen(ctx context.Context, dir string, log *slog.Logger) ([]func(context.Context) error, error) {
	state, err := readState(dir)
	if err != nil {
		return nil, err
	}
	client, err := sshhost.OpenKey(state.Key)
	if err != nil {
		return nil, err
	}
	zk, err := zookeeper.Listen(ctx, zookeeper.Options{
		Addr: state.ZooKeeper, Tick: zookeeperTick, Snapshot: filepath.Join(dir, "zookeeper.json"), Log: log.With("host", "zookeeper"),
	})
	if err != nil {
		return nil, inUse(state.ZooKeeper, err)
	}
	services, faults := []func(context.Context) error{zk.Serve}, []*faulty{faultyZooKeeper(state, zk)}
	for _, h := range state.Hosts {
		key, err := sshhost.OpenKey(hostKey(state, h))
		if err != nil {
			return nil, err
		}
		host, err := sshhost.Listen(ctx, sshhost.Options{
			Addr: h.SSH, Home: h.Home, HostKey: key, ClientKey: client, Env: environment(state, h), Log: log.With("host", h.Name),
		})
		if err != nil {
			return nil, inUse(h.SSH, err)
		}
		services, faults = append(services, host.Serve), append(faults, faultyHost(state, h, host))
	}
	return append(services, func(ctx context.Context) error { return misbehave(ctx, faults, log) }), nil
}

// environment is what tells the processes of a host whose they are, and the simulated servers where they
// are: all hosts are one machine, so the address of "the" network card would be no help.
func environment(s *State, h Host) []string {
	return []string{
		envDir + "=" + s.Dir, envHost + "=" + h.Name,
		"PEGASUS_SIM_ADDRESS=" + h.IP, "PEGASUS_SIM_SCALE=" + scale(s),
		"PEGASUS_SIM_FAULTS_FILE=" + faultsFile(s, h), pegasus.ChangesEnv + "=" + s.Changes(),
	}
}

func inUse(addr string, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("another program listens on %s, perhaps a lab in another folder: pegbook lab down there, or choose another --address: %w", addr, err)
	}
	return err
}

func writePID(dir string) error {
	id, err := identify(os.Getpid())
	if err != nil {
		return err
	}
	p, err := json.Marshal(id)
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, pidFile), p)
}

// server is the background process of the lab in dir, and whether it is running.
func server(dir string) (identity, bool) {
	p, err := os.ReadFile(filepath.Join(dir, pidFile))
	if err != nil {
		return identity{}, false
	}
	var id identity
	if json.Unmarshal(p, &id) != nil || id.PID <= 1 {
		return identity{}, false
	}
	return id, id.alive()
}
