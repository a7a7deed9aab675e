package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// measure prints a workload's line, and a second one for the run that finds nothing to do.
func (s *site) measure(ctx context.Context, w workload, rounds int, peers bool) error {
	play, err := s.play("pegbook", "{{ .inventory_hostname }}", w.tasks)
	if err != nil {
		return err
	}
	if _, err := s.run(ctx, play, w.hosts); err != nil { // the helper is there from now on, for warm figures
		return err
	}
	var got [2]pair
	for round := range rounds {
		if err := os.RemoveAll(s.work); err != nil {
			return err
		}
		for phase := range 2 {
			if phase == 1 && !w.again {
				continue
			}
			raw := func() (usage, error) {
				took, err := s.raw(w)
				return usage{wall: took}, err
			}
			own := func() (usage, error) { return s.run(ctx, play, w.hosts) }
			if err := got[phase].measure(round, raw, own); err != nil {
				return err
			}
		}
	}
	for phase, name := range []string{w.name, w.name + ", again"} {
		if len(got[phase].a) == 0 {
			continue
		}
		mine := got[phase].ratio(name)
		if peers && phase == 0 {
			s.comparePeers(ctx, w, mine)
		}
		fmt.Println()
	}
	return nil
}

func (s *site) comparePeers(ctx context.Context, w workload, mine time.Duration) {
	for _, p := range s.peers {
		if err := os.RemoveAll(s.work); err != nil {
			fmt.Printf("%v ", err)
			return
		}
		took, err := p.run(ctx, s, w)
		if err != nil {
			fmt.Printf("%s: %s  ", p.name, strings.ReplaceAll(err.Error()[:min(120, len(err.Error()))], "\n", " "))
			continue
		}
		fmt.Printf("%s %s (%.0f×)  ", p.name, seconds(took), float64(took)/float64(mine))
	}
	if len(s.peers) == 0 {
		fmt.Print("none installed (ansible-playbook, mitogen, pyinfra)")
	}
}

// package64 compares sending a 64 MiB package to 3 hosts with scp.
func (s *site) package64(ctx context.Context, rounds int) error {
	file := filepath.Join(s.dir, "package.bin")
	if err := randomFile(file, 64<<20); err != nil {
		return err
	}
	play, err := s.write("package.yml", fmt.Sprintf("- hosts: all\n  gather_facts: false\n  tasks:\n    - copy: {src: %s, dest: '%s/{{ .inventory_hostname }}/package.bin'}\n", file, s.work))
	if err != nil {
		return err
	}
	var own, peer []time.Duration
	for range rounds {
		for i := range 3 {
			dir := filepath.Join(s.work, address(i))
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
		}
		u, err := s.run(ctx, play, 3)
		if err != nil {
			return err
		}
		own = append(own, u.wall)
		began := time.Now()
		err = all(3, func(i int) error {
			_, err := timed(ctx, nil, "scp", "-q", "-F", "/dev/null", "-i", s.keyFile, "-o", "UserKnownHostsFile="+s.dir+"/known_hosts",
				"-P", fmt.Sprint(s.port), file, fmt.Sprintf("%s@%s:%s/%s/scp.bin", s.user, address(i), s.work, address(i)))
			return err
		})
		if err != nil {
			return err
		}
		peer = append(peer, time.Since(began))
	}
	mine, scp := median(own), median(peer)
	fmt.Printf("%-34s %10s %10s %7.2f×   (limit: scp)\n", "64 MiB package to 3 hosts", seconds(scp), seconds(mine), float64(mine)/float64(scp))
	return nil
}

func randomFile(path string, size int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	block := make([]byte, 1<<20)
	state := uint64(88172645463325252)
	for range size / len(block) {
		for i := range block {
			state ^= state << 13
			state ^= state >> 7
			state ^= state << 17
			block[i] = byte(state)
		}
		if _, err := f.Write(block); err != nil {
			return err
		}
	}
	return f.Close()
}

// cold compares a run that has to send the helper first with one that finds it there.
func (s *site) cold(ctx context.Context, rounds int) error {
	play, err := s.play("cold", "{{ .inventory_hostname }}", mixed())
	if err != nil {
		return err
	}
	var cold, warm []time.Duration
	for round := range rounds {
		// All hosts share this machine's disk: a folder of its own for each stands for a host's.
		where := fmt.Sprintf("ansible_remote_tmp=%s/tmp-%d/{{ .inventory_hostname }}", s.dir, round)
		for _, times := range []*[]time.Duration{&cold, &warm} {
			u, err := s.run(ctx, play, 10, "-e", where)
			if err != nil {
				return err
			}
			*times = append(*times, u.wall)
		}
	}
	c, w := median(cold), median(warm)
	fmt.Printf("%-34s %10s %10s %7.2f×   (limit: warm)\n", "cold start, 10 hosts", seconds(w), seconds(c), float64(c)/float64(w))
	return nil
}

func (s *site) startUp(ctx context.Context) error {
	play, err := s.write("empty.yml", "- hosts: all\n  gather_facts: false\n  tasks: []\n")
	if err != nil {
		return err
	}
	inventory, err := s.inventory(10)
	if err != nil {
		return err
	}
	for _, c := range []struct {
		name string
		argv []string
	}{
		{"pegbook --version", []string{"--version"}},
		{"--check of an empty play", []string{"run", play, "-i", inventory, "--check"}},
	} {
		var times []time.Duration
		for range 9 {
			u, err := timed(ctx, nil, append([]string{s.pegbook}, c.argv...)...)
			if err != nil {
				return err
			}
			times = append(times, u.wall)
		}
		fmt.Printf("%-34s %10s %10s\n", c.name, "", seconds(median(times)))
	}
	return nil
}

// big measures what grows with hosts: 1,000 hosts × 20 tasks, and an inventory of 10,000.
func (s *site) big(ctx context.Context) error {
	play, err := s.play("big", "{{ .inventory_hostname }}", mixed())
	if err != nil {
		return err
	}
	u, err := s.run(ctx, play, 1000)
	if err != nil {
		return err
	}
	fmt.Printf("%-34s %10s %10s           CPU %.2f ms a host and task, peak memory %s\n", "20 tasks, 1,000 hosts", "", seconds(u.wall),
		float64(u.cpu.Microseconds())/1000/20000, mib(u.memory))
	var b strings.Builder
	b.WriteString("all:\n  children:\n")
	for g := range 20 {
		fmt.Fprintf(&b, "    group%d:\n      vars: {port: %d}\n      hosts:\n", g, 9000+g)
		for h := range 500 {
			fmt.Fprintf(&b, "        host-%d-%d: {ansible_host: 10.%d.%d.%d, rack: r%d}\n", g, h, g, h/250, h%250, h%40)
		}
	}
	inventory, err := s.write("inventory-10000.yml", b.String())
	if err != nil {
		return err
	}
	u, err = timed(ctx, nil, s.pegbook, "inventory", "list", "-i", inventory, "host-1-1")
	if err != nil {
		return err
	}
	fmt.Printf("%-34s %10s %10s           peak memory %s\n", "inventory of 10,000 hosts", "", seconds(u.wall), mib(u.memory))
	return nil
}
