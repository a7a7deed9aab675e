package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/pegbook/pegbook/lab/sshhost"
	"github.com/pegbook/pegbook/lab/zookeeper"
)

// linkPrefix begins the settings that are about a host and not about the servers on it.
const linkPrefix = "ssh_"

// split tells settings of servers from those of their hosts.
func split(settings []string) (servers, links []string) {
	for _, s := range settings {
		if strings.HasPrefix(s, linkPrefix) {
			links = append(links, s)
		} else {
			servers = append(servers, s)
		}
	}
	return servers, links
}

// linkFault reads the settings of a host.
func linkFault(settings []string) (f sshhost.Fault, err error) {
	for _, setting := range settings {
		name, value, _ := strings.Cut(setting, "=")
		switch name {
		case "ssh_refused":
			f.Refuse = true
		case "ssh_hangs":
			f.Hang = true
		case "ssh_delay_ms":
			ms, err := strconv.Atoi(value)
			if err != nil || ms < 0 {
				return f, fmt.Errorf("fault %s: give milliseconds, such as ssh_delay_ms=50", setting)
			}
			f.Delay = time.Duration(ms) * time.Millisecond
		default:
			return f, fmt.Errorf("there is no fault %q; of a host there are ssh_refused, ssh_hangs, ssh_delay_ms", name)
		}
	}
	return f, nil
}

// zooKeeperFault reads the settings of ZooKeeper.
func zooKeeperFault(settings []string) (f zookeeper.Fault, err error) {
	for _, setting := range settings {
		name, value, _ := strings.Cut(setting, "=")
		switch {
		case name == "down":
			f.Down = true
		case name == "expire" && strings.HasPrefix(value, "/"):
			f.Expire = value
		default:
			return f, fmt.Errorf("there is no fault %q; of ZooKeeper there are down and expire=/PATH", setting)
		}
	}
	return f, nil
}

// faulty is something that a file has misbehave.
type faulty struct {
	file string
	set  func(settings []string)
	now  string
}

// faultEvery is how often the files are looked at.
const faultEvery = 100 * time.Millisecond

// misbehave has hosts and ZooKeeper do what their files say, until ctx is done.
func misbehave(ctx context.Context, all []*faulty, log *slog.Logger) error {
	ticker := time.NewTicker(faultEvery)
	defer ticker.Stop()
	for {
		for _, f := range all {
			f.look(log)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (f *faulty) look(log *slog.Logger) {
	text, err := os.ReadFile(f.file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return // it is looked at again
	}
	if string(text) == f.now {
		return
	}
	f.now = string(text)
	log.Info("faults", "file", f.file, "settings", strings.Fields(f.now))
	f.set(strings.Fields(f.now))
}

// faultyHost is a host that its file has misbehave.
func faultyHost(s *State, h Host, host *sshhost.Host) *faulty {
	return &faulty{file: linkFile(s, h), set: func(settings []string) {
		fault, err := linkFault(settings)
		if err != nil {
			return // Fault has said so
		}
		host.SetFault(fault)
		if fault.Refuse {
			host.Cut()
		}
	}}
}

// faultyZooKeeper is a ZooKeeper that its file has misbehave.
func faultyZooKeeper(s *State, zk *zookeeper.Server) *faulty {
	return &faulty{file: zooKeeperFile(s), set: func(settings []string) {
		if fault, err := zooKeeperFault(settings); err == nil {
			zk.SetFault(fault)
		}
	}}
}
