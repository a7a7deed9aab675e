package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// addedDelay is what the far hosts' network adds to every round trip.
const addedDelay = 50 * time.Millisecond

// delayLine is a port that leads to another with a delay in each direction. It neither loses nor
// reorders, and sends on what comes as it comes, so it is a long way and not a narrow one.
type delayLine struct {
	listener net.Listener
	to       string
	each     time.Duration
}

// newDelayLine begins to listen; roundTrip is what it adds to one.
func newDelayLine(listen, to string, roundTrip time.Duration) (*delayLine, error) {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, err
	}
	return &delayLine{l, to, roundTrip / 2}, nil
}

func (d *delayLine) port() int { return d.listener.Addr().(*net.TCPAddr).Port }

// serve carries connections until the line is closed.
func (d *delayLine) serve() error {
	for {
		near, err := d.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		go func() {
			far, err := net.Dial("tcp", d.to)
			if err != nil {
				near.Close()
				return
			}
			go d.carry(near, far)
			d.carry(far, near)
		}()
	}
}

func (d *delayLine) close() error { return d.listener.Close() }

// carry brings what one side sends to the other, each piece d.each after it came. When one side ends
// both do.
func (d *delayLine) carry(from, to net.Conn) {
	type piece struct {
		due     time.Time
		content []byte
	}
	way := make(chan piece, 1024)
	go func() {
		defer close(way)
		for {
			buffer := make([]byte, 32<<10)
			n, err := from.Read(buffer)
			if err != nil {
				return
			}
			way <- piece{time.Now().Add(d.each), buffer[:n]}
		}
	}()
	var err error
	for p := range way {
		if err == nil {
			time.Sleep(time.Until(p.due))
			_, err = to.Write(p.content)
		}
	}
	_ = errors.Join(to.Close(), from.Close())
}

// delayed measures what a task that changes nothing costs on a host at a distance: the slope between a
// playbook and one three times as long, in which connecting and starting up cancel out.
func (s *site) delayed(ctx context.Context, rounds int) error {
	line, by, err := s.distance()
	if err != nil {
		return err
	}
	defer line.close()
	var times [2][]time.Duration
	const tasks = 10
	for i, times1 := range []int{1, 3} {
		play, err := s.write(fmt.Sprintf("delayed-%d.yml", times1), unchanging(filepath.Join(s.work, "delayed"), tasks*times1))
		if err != nil {
			return err
		}
		for range rounds + 1 { // the first makes what the others find
			u, err := s.run(ctx, play, 1, by...)
			if err != nil {
				return err
			}
			times[i] = append(times[i], u.wall)
		}
	}
	// Only what is in the way can make a run longer: the shortest one counts.
	short, long := slices.Min(times[0][1:]), slices.Min(times[1][1:])
	task := (long - short) / (2 * tasks)
	fmt.Printf("%-34s %10s %10s %7.2f×   (limit: one round trip; %s of %d tasks are connecting and the start)\n", "unchanged task, delay 50 ms",
		seconds(addedDelay), fmt.Sprintf("%.1f ms", float64(task.Microseconds())/1000), float64(task)/float64(addedDelay), seconds(short-tasks*task), tasks)
	return nil
}

// distance puts the first host at a distance, and gives what a run needs to reach it there.
func (s *site) distance() (*delayLine, []string, error) {
	line, err := newDelayLine(address(0)+":0", fmt.Sprintf("%s:%d", address(0), s.port), addedDelay)
	if err != nil {
		return nil, nil, err
	}
	go func() { _ = line.serve() }()
	known, err := s.write("known_hosts-delayed", s.knownHosts(1, line.port()))
	if err != nil {
		return nil, nil, errors.Join(err, line.close())
	}
	return line, []string{"-e", fmt.Sprintf("ansible_port=%d", line.port()), "-e", "ansible_ssh_known_hosts_file=" + known}, nil
}

// looped measures a loop on a host at a distance: making as many files, and finding them as they should be.
func (s *site) looped(ctx context.Context) error {
	const items = 1000
	line, by, err := s.distance()
	if err != nil {
		return err
	}
	defer line.close()
	dir := filepath.Join(s.work, "looped")
	play, err := s.write("looped.yml", fmt.Sprintf("- hosts: all\n  gather_facts: false\n  tasks:\n    - file: {path: '%s', state: directory}\n"+
		"    - copy: {content: '{{ .item }}', dest: '%s/{{ .item }}'}\n      loop: '{{ untilStep 0 %d 1 }}'\n", dir, dir, items))
	if err != nil {
		return err
	}
	var times [2]time.Duration
	for i := range times {
		u, err := s.run(ctx, play, 1, by...)
		if err != nil {
			return err
		}
		times[i] = u.wall
	}
	fmt.Printf("%-34s %10s %10s             (with connecting and the start; again, with nothing to do: %s)\n", fmt.Sprintf("loop of %d files, delay 50 ms", items), "", seconds(times[0]), seconds(times[1]))
	return nil
}

// unchanging is a playbook of n tasks of several kinds that changes nothing when it has run once.
func unchanging(dir string, n int) string {
	kinds := []string{
		"file: {path: 'DIR/NUMBER', state: directory, mode: '0755'}",
		"copy: {content: 'some text', dest: 'DIR/copied-NUMBER'}",
		"command: /bin/true\n      changed_when: false",
		"file: {path: 'DIR', state: directory}",
		"stat: {path: 'DIR/NUMBER'}",
	}
	var b strings.Builder
	fmt.Fprintf(&b, "- hosts: all\n  gather_facts: false\n  tasks:\n    - file: {path: '%s', state: directory}\n", dir)
	for i := range n {
		b.WriteString("    - " + strings.NewReplacer("DIR", dir, "NUMBER", fmt.Sprint(i)).Replace(kinds[i%len(kinds)]) + "\n")
	}
	return b.String()
}
