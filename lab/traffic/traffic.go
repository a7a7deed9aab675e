// Package traffic is a client that reads and writes a Pegasus table without pause, to see what an
// operation on the cluster does to its users. It behaves as the official clients do: an operation is
// tried again, on the partition's new primary if need be, until it succeeds or its time is up.
//
// It also checks what it reads: an acknowledged write that a later read does not give back is counted
// as lost.
package traffic

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/pegbook/pegbook/modules/pegasus/client"
	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

// Options say what load to make. The zero value of all but Metas is good.
type Options struct {
	// Metas are the cluster's meta servers, each ip:port.
	Metas []string
	// Table is the table to use; "" is temp. The load's keys are its own, and removed at the end.
	Table string
	// Workers are how many operations are under way at a time; 0 is 8.
	Workers int
	// Rate is how many operations are begun in a second by all workers together; 0 is 500. What is not
	// begun because earlier operations took long is not made up for.
	Rate float64
	// Timeout is when an operation that has not succeeded fails; 0 is 5 s.
	Timeout time.Duration
	// Dial opens connections; nil dials from here.
	Dial client.Dial
}

const (
	// tryFor is how long one try waits for its answer: a request to a server that has just died gets
	// none, and the next try finds its successor.
	tryFor = time.Second
	// pause lies between two tries.
	pause = 50 * time.Millisecond
	// keysEach is how many keys a worker has.
	keysEach = 32
)

// Load is a running load.
type Load struct {
	options Options
	client  *client.Client
	data    *client.Data
	cancel  context.CancelFunc
	workers []*worker
	wg      sync.WaitGroup
	tally   tally
}

// Start makes sure that the table is there and starts the load, which goes on until Stop or until ctx
// is done.
func Start(ctx context.Context, o Options) (*Load, error) {
	o.Table = cmp.Or(o.Table, "temp")
	o.Workers = cmp.Or(o.Workers, 8)
	o.Rate = cmp.Or(o.Rate, 500)
	o.Timeout = cmp.Or(o.Timeout, 5*time.Second)
	if o.Workers < 0 || o.Rate < 0 || o.Timeout < 0 {
		return nil, errors.New("workers, rate and timeout of a load must be above 0")
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{Timeout: tryFor}).DialContext
	}
	c, err := client.New(o.Dial, o.Metas, client.Options{AnswerTimeout: tryFor, LeaderTimeout: o.Timeout})
	if err != nil {
		return nil, err
	}
	if _, err := c.Partitions(ctx, o.Table); err != nil {
		c.Close()
		return nil, fmt.Errorf("table %s: %w", o.Table, err)
	}
	l := &Load{options: o, client: c, data: c.Data(o.Table), tally: newTally()}
	ctx, l.cancel = context.WithCancel(ctx)
	run := rand.Text()[:8] // so that two loads on one table do not meet
	for i := range o.Workers {
		w, err := newWorker(l, run+"-"+strconv.Itoa(i))
		if err != nil {
			c.Close()
			return nil, err
		}
		l.workers = append(l.workers, w)
	}
	for i, w := range l.workers {
		l.wg.Go(func() { w.run(ctx, i) })
	}
	return l, nil
}

// Summary is what happened so far.
func (l *Load) Summary() Summary { return l.tally.summary(l.slowest()) }

// Stop ends the load: operations under way are given up and not counted, the keys are removed. ctx bounds
// the removal.
func (l *Load) Stop(ctx context.Context) Summary {
	l.cancel()
	l.wg.Wait()
	s := l.tally.summary(0)
	ctx, cancel := context.WithTimeout(ctx, l.options.Timeout)
	defer cancel()
	for _, w := range l.workers {
		l.wg.Go(func() { w.clean(ctx) })
	}
	l.wg.Wait()
	l.client.Close()
	return s
}

// slowest is how long the operation that is under way longest has been so: a stall shows while it lasts.
func (l *Load) slowest() time.Duration {
	var longest time.Duration
	for _, w := range l.workers {
		w.mu.Lock()
		if !w.began.IsZero() {
			longest = max(longest, time.Since(w.began))
		}
		w.mu.Unlock()
	}
	return longest
}

// try repeats an operation until it succeeds or its time is up. Writing a value twice is as good as
// once, so writes are repeated too.
func (l *Load) try(ctx context.Context, operation func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, l.options.Timeout)
	defer cancel()
	for {
		err := operation(ctx)
		if err == nil || errors.Is(err, client.ErrNotFound) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

// worker does one operation at a time on keys that only it uses.
type worker struct {
	load *Load
	keys []key

	mu    sync.Mutex // guards began
	began time.Time  // of the operation under way
}

// key is a key with what a read of it may give.
type key struct {
	name wire.Key
	// acked is the number of the last write that was acknowledged, 0 for none; tried of the last one that
	// was sent, which may have arrived without our hearing of it.
	acked, tried int
}

func newWorker(l *Load, name string) (*worker, error) {
	w := &worker{load: l}
	for i := range keysEach {
		k, err := wire.NewKey([]byte("pegbook-traffic-"+name+"-"+strconv.Itoa(i)), nil)
		if err != nil {
			return nil, err
		}
		w.keys = append(w.keys, key{name: k})
	}
	return w, nil
}

// run keeps the worker's share of the rate, its operations in the gaps of the others'.
func (w *worker) run(ctx context.Context, index int) {
	interval := time.Duration(float64(w.load.options.Workers) / w.load.options.Rate * float64(time.Second))
	next := time.Now().Add(interval * time.Duration(index) / time.Duration(w.load.options.Workers))
	for n := 0; ; n++ {
		timer := time.NewTimer(time.Until(next))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		// Each key is written, and read when its turn comes again.
		w.do(ctx, &w.keys[n/2%len(w.keys)], n%2 == 0)
		if next = next.Add(interval); time.Until(next) < 0 {
			next = time.Now()
		}
	}
}

func (w *worker) do(ctx context.Context, k *key, write bool) {
	w.begin(time.Now())
	began := time.Now()
	defer w.begin(time.Time{})
	operation, kind := w.read, read
	if write {
		operation, kind = w.write, written
	}
	lost, err := operation(ctx, k)
	if ctx.Err() != nil {
		return
	}
	w.load.tally.add(outcome{kind: kind, at: began, took: time.Since(began), err: err, lost: lost})
}

func (w *worker) begin(at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.began = at
}

func (w *worker) write(ctx context.Context, k *key) (string, error) {
	k.tried++
	value := []byte(strconv.Itoa(k.tried))
	err := w.load.try(ctx, func(ctx context.Context) error { return w.load.data.Put(ctx, k.name, value) })
	if err == nil {
		k.acked = k.tried
	}
	return "", err
}

// read reads a key back. Its first result says how what it got is not what was written.
func (w *worker) read(ctx context.Context, k *key) (string, error) {
	var value []byte
	err := w.load.try(ctx, func(ctx context.Context) (err error) {
		value, err = w.load.data.Get(ctx, k.name)
		return err
	})
	absent := errors.Is(err, client.ErrNotFound)
	if err != nil && !absent {
		return "", err
	}
	number := 0
	if !absent {
		if number, err = strconv.Atoi(string(value)); err != nil {
			return fmt.Sprintf("write %d was acknowledged, %q is read", k.acked, value), nil
		}
	}
	if number < k.acked || number > k.tried {
		lost := fmt.Sprintf("write %d was acknowledged, %d is read", k.acked, number)
		k.acked = min(number, k.tried) // told once
		return lost, nil
	}
	return "", nil
}

func (w *worker) clean(ctx context.Context) {
	for _, k := range w.keys {
		if k.tried > 0 && w.load.data.Remove(ctx, k.name) != nil {
			return // the cluster does not answer; the few keys do no harm
		}
	}
}
