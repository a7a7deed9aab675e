package stage

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/pegbook/pegbook/modules/pegasus/client"
	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

// Watcher counts the live copies of every partition all the time. It believes no meta server, which learns late
// of a server that is gone: it asks the replica servers themselves what they serve.
type Watcher struct {
	servers    []*server
	partitions []wire.GPID
	stop       context.CancelFunc
	done       sync.WaitGroup
}

// server is a replica server that is asked all the time, by itself: one that hangs must not keep the others from
// being counted.
type server struct {
	client *client.Client
	addr   string
	node   wire.Address

	looks    int
	gap      time.Duration
	answered time.Time
	// absences are the times in which it did not serve a partition, in order.
	absences map[wire.GPID][]absence
}

// absence is a time in which a server surely did not serve a partition: from the answer that was the first to lack it
// to the question of the last. What it was before and after, while a question was under way, nobody knows: an answer may
// come late, and the servers are not asked in the same moment.
type absence struct {
	from, to time.Time
	lasts    bool
}

// Seen is what the Watcher saw.
type Seen struct {
	// Least is the least number of copies that any partition had; Which says which one, when and for how long.
	Least int
	Which string
	Looks int
	// Gap is the longest time in which a server has said nothing.
	Gap time.Duration
}

const (
	lookEvery = 200 * time.Millisecond
	// silence is how long an answer may take. No answer says that nothing is served, as a refusal does.
	silence = 1500 * time.Millisecond
)

// Watch begins to count the copies of every partition of the replica servers at addresses.
func Watch(ctx context.Context, metas []string, servers map[string]string) (*Watcher, error) {
	var dialer net.Dialer
	w := &Watcher{}
	for _, addr := range servers {
		node, err := wire.ParseAddress(addr)
		if err != nil {
			return nil, err
		}
		c, err := client.New(dialer.DialContext, metas, client.Options{AnswerTimeout: silence})
		if err != nil {
			return nil, err
		}
		w.servers = append(w.servers, &server{client: c, addr: addr, node: node, absences: map[wire.GPID][]absence{}})
	}
	v, err := w.servers[0].client.View(ctx)
	if err != nil {
		return nil, err
	}
	for i := range v.Tables {
		for _, p := range v.Tables[i].Partitions {
			w.partitions = append(w.partitions, p.PID)
		}
	}
	ctx, w.stop = context.WithCancel(ctx)
	for _, s := range w.servers {
		w.done.Go(func() {
			for every := time.NewTicker(lookEvery); ; {
				s.ask(ctx, w.partitions)
				select {
				case <-ctx.Done():
					every.Stop()
					return
				case <-every.C:
				}
			}
		})
	}
	return w, nil
}

// ask asks the server what it serves.
func (s *server) ask(ctx context.Context, partitions []wire.GPID) {
	asked := time.Now()
	reply, err := client.Ask(ctx, s.client, s.addr, 1, &wire.QueryReplicaRequest{Node: wire.Node{Address: s.node}})
	if ctx.Err() != nil {
		return
	}
	serves := map[wire.GPID]bool{}
	if err == nil {
		for _, r := range reply.Replicas {
			if r.Status == wire.ReplicaPrimary || r.Status == wire.ReplicaSecondary {
				serves[r.PID] = true
			}
		}
	}
	s.take(asked, time.Now(), partitions, serves)
}

// take takes an answer.
func (s *server) take(asked, answered time.Time, partitions []wire.GPID, serves map[wire.GPID]bool) {
	if s.looks++; s.looks > 1 {
		s.gap = max(s.gap, answered.Sub(s.answered))
	}
	s.answered = answered
	for _, pid := range partitions {
		list := s.absences[pid]
		last := len(list) - 1
		lasts := last >= 0 && list[last].lasts
		switch {
		case serves[pid] && lasts:
			list[last].lasts = false
		case serves[pid]:
		case lasts:
			list[last].to = asked
		default:
			s.absences[pid] = append(list, absence{from: answered, to: answered, lasts: true})
		}
	}
}

// least is the least number of servers that may have served a partition at once, since when and for how long.
func (w *Watcher) least(pid wire.GPID) (copies int, since time.Time, long time.Duration) {
	type turn struct {
		at   time.Time
		more int
	}
	var turns []turn
	for _, s := range w.servers {
		for _, a := range s.absences[pid] {
			// One answer that lacks it may be of a replica that was changing its role.
			if a.to.After(a.from) {
				turns = append(turns, turn{a.from, -1}, turn{a.to, 1})
			}
		}
	}
	slices.SortStableFunc(turns, func(a, b turn) int {
		if n := a.at.Compare(b.at); n != 0 {
			return n
		}
		return b.more - a.more // who comes back in the moment in which another goes is there
	})
	now := len(w.servers)
	copies = now
	for i, t := range turns {
		if now += t.more; now < copies {
			copies, since, long = now, t.at, turns[i+1].at.Sub(t.at)
		}
	}
	return copies, since, long
}

// End stops the Watcher and gives what it saw.
func (w *Watcher) End() Seen {
	w.stop()
	w.done.Wait()
	seen := Seen{Least: len(w.servers)}
	for i, s := range w.servers {
		s.client.Close()
		seen.Gap = max(seen.Gap, s.gap)
		if i == 0 || s.looks < seen.Looks {
			seen.Looks = s.looks
		}
	}
	for _, pid := range w.partitions {
		if n, since, long := w.least(pid); n < seen.Least {
			seen.Least, seen.Which = n, fmt.Sprintf("partition %s at %s for %s", pid, since.Format("15:04:05.000"), long.Round(time.Millisecond))
		}
	}
	return seen
}
