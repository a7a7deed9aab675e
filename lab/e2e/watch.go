package main

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/pegbook/pegbook/modules/pegasus/client"
	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

// watcher counts the live copies of every partition all the time. It believes no meta server, which learns late
// of a server that is gone: it asks the replica servers themselves what they serve.
type watcher struct {
	clients    map[string]*client.Client // by address
	partitions []wire.GPID
	stop       context.CancelFunc
	done       sync.WaitGroup

	mu     sync.Mutex // guards what follows
	last   map[wire.GPID]int
	looked time.Time
	seen   seen
}

// seen is what the watcher saw.
type seen struct {
	// least is the least number of copies that any partition had; which says which one, and when.
	least int
	which string
	looks int
	// gap is the longest time between two counts.
	gap time.Duration
}

// lookEvery is how often the copies are counted. Servers are not asked in the same moment, so one count that is
// too low may be a replica that changed its role in between; two of them are not.
const lookEvery = 200 * time.Millisecond

// enough is more copies than any partition has.
const enough = 99

func watch(ctx context.Context, metas []string, servers map[string]string) (*watcher, error) {
	var dialer net.Dialer
	w := &watcher{clients: map[string]*client.Client{}, seen: seen{least: enough}, last: map[wire.GPID]int{}}
	for _, addr := range servers {
		c, err := client.New(dialer.DialContext, metas, client.Options{AnswerTimeout: time.Second})
		if err != nil {
			return nil, err
		}
		w.clients[addr] = c
		if len(w.partitions) > 0 {
			continue
		}
		v, err := c.View(ctx)
		if err != nil {
			return nil, err
		}
		for i := range v.Tables {
			for _, p := range v.Tables[i].Partitions {
				w.partitions = append(w.partitions, p.PID)
			}
		}
	}
	for _, pid := range w.partitions {
		w.last[pid] = enough
	}
	ctx, w.stop = context.WithCancel(ctx)
	w.done.Go(func() { w.run(ctx) })
	return w, nil
}

func (w *watcher) run(ctx context.Context) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		copies := w.count(ctx)
		if ctx.Err() != nil {
			return
		}
		w.take(copies, time.Now())
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// count asks every server what it serves.
func (w *watcher) count(ctx context.Context) map[wire.GPID]int {
	var mu sync.Mutex // guards copies
	copies := map[wire.GPID]int{}
	var group sync.WaitGroup
	for addr, c := range w.clients {
		group.Go(func() {
			address, err := wire.ParseAddress(addr)
			if err != nil {
				return
			}
			reply, err := client.Ask(ctx, c, addr, 1, &wire.QueryReplicaRequest{Node: wire.Node{Address: address}})
			if err != nil {
				return // who does not answer serves nobody
			}
			mu.Lock()
			defer mu.Unlock()
			for _, r := range reply.Replicas {
				if r.Status == wire.ReplicaPrimary || r.Status == wire.ReplicaSecondary {
					copies[r.PID]++
				}
			}
		})
	}
	group.Wait()
	return copies
}

// take takes a count: a partition has as many copies as the better of its last two counts says.
func (w *watcher) take(copies map[wire.GPID]int, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen.looks++
	if !w.looked.IsZero() {
		w.seen.gap = max(w.seen.gap, at.Sub(w.looked))
	}
	w.looked = at
	for _, pid := range w.partitions {
		if n := max(copies[pid], w.last[pid]); n < w.seen.least {
			w.seen.least, w.seen.which = n, fmt.Sprintf("partition %s at %s", pid, at.Format("15:04:05.0"))
		}
		w.last[pid] = copies[pid]
	}
}

// end stops the watcher and gives what it saw.
func (w *watcher) end() seen {
	w.stop()
	w.done.Wait()
	for _, c := range w.clients {
		c.Close()
	}
	return w.seen
}
