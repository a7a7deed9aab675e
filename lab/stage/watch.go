package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
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

	last   map[wire.GPID]int
	looked time.Time
	seen   Seen
}

// server is a replica server that is asked all the time, by itself: one that hangs must not keep the others from
// being counted.
type server struct {
	client *client.Client
	addr   string
	node   wire.Address

	mu     sync.Mutex // guards what follows
	serves map[wire.GPID]bool
	said   time.Time
}

// Seen is what the Watcher saw.
type Seen struct {
	// Least is the least number of copies that any partition had; Which says which one, and when.
	Least int
	Which string
	Looks int
	// Gap is the longest time between two counts.
	Gap time.Duration
}

const (
	// lookEvery is how often the copies are counted. Servers are not asked in the same moment, so one count that is
	// too low may be a replica that changed its role in between; two of them are not.
	lookEvery = 200 * time.Millisecond
	// silence is how long a server that does not answer is taken for busy. One that refuses is gone at once.
	silence = 3 * time.Second
	// enough is more copies than any partition has.
	enough = 99
)

// Watch begins to count the copies of every partition of the replica servers at addresses.
func Watch(ctx context.Context, metas []string, servers map[string]string) (*Watcher, error) {
	var dialer net.Dialer
	w := &Watcher{seen: Seen{Least: enough}, last: map[wire.GPID]int{}}
	for _, addr := range servers {
		node, err := wire.ParseAddress(addr)
		if err != nil {
			return nil, err
		}
		c, err := client.New(dialer.DialContext, metas, client.Options{AnswerTimeout: silence})
		if err != nil {
			return nil, err
		}
		w.servers = append(w.servers, &server{client: c, addr: addr, node: node})
	}
	v, err := w.servers[0].client.View(ctx)
	if err != nil {
		return nil, err
	}
	for i := range v.Tables {
		for _, p := range v.Tables[i].Partitions {
			w.partitions = append(w.partitions, p.PID)
			w.last[p.PID] = enough
		}
	}
	ctx, w.stop = context.WithCancel(ctx)
	for _, s := range w.servers {
		s.ask(ctx)
		w.done.Go(func() { every(ctx, func() { s.ask(ctx) }) })
	}
	w.done.Go(func() { every(ctx, func() { w.take(w.count(time.Now()), time.Now()) }) })
	return w, nil
}

// every does something five times a second.
func every(ctx context.Context, do func()) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			do()
		}
	}
}

// ask asks the server what it serves.
func (s *server) ask(ctx context.Context) {
	reply, err := client.Ask(ctx, s.client, s.addr, 1, &wire.QueryReplicaRequest{Node: wire.Node{Address: s.node}})
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil:
		s.serves, s.said = map[wire.GPID]bool{}, time.Now()
		for _, r := range reply.Replicas {
			if r.Status == wire.ReplicaPrimary || r.Status == wire.ReplicaSecondary {
				s.serves[r.PID] = true
			}
		}
	case errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF):
		s.serves = nil
	}
}

// count adds up what the servers serve; one that has not answered for too long serves nothing.
func (w *Watcher) count(now time.Time) map[wire.GPID]int {
	copies := map[wire.GPID]int{}
	for _, s := range w.servers {
		s.mu.Lock()
		if now.Sub(s.said) < silence {
			for pid := range s.serves {
				copies[pid]++
			}
		}
		s.mu.Unlock()
	}
	return copies
}

// take takes a count: a partition has as many copies as the better of its last two counts says.
func (w *Watcher) take(copies map[wire.GPID]int, at time.Time) {
	w.seen.Looks++
	if !w.looked.IsZero() {
		w.seen.Gap = max(w.seen.Gap, at.Sub(w.looked))
	}
	w.looked = at
	for _, pid := range w.partitions {
		if n := max(copies[pid], w.last[pid]); n < w.seen.Least {
			w.seen.Least, w.seen.Which = n, fmt.Sprintf("partition %s at %s", pid, at.Format("15:04:05.0"))
		}
		w.last[pid] = copies[pid]
	}
}

// End stops the Watcher and gives what it saw.
func (w *Watcher) End() Seen {
	w.stop()
	w.done.Wait()
	for _, s := range w.servers {
		s.client.Close()
	}
	return w.seen
}
