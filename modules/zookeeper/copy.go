package zookeeper

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-zookeeper/zk"
	"golang.org/x/sync/errgroup"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/zksession"
)

func copyModule() *modules.Module {
	return modules.Define("zookeeper_copy", `Copy a ZooKeeper node with all below to another ensemble

Makes the node on the ensemble to the same as it is on the ensemble from: makes what is missing, changes what
differs, and reads both back. Temporary nodes (locks, registrations) belong to running processes and are not
copied. Who writes below the node must rest meanwhile; a source that goes on changing fails the task.

What the target has and the source does not fails the task too, unless delete is set; a target below which a
process holds a temporary node is in use and is never changed. Nodes get an open access list, as the servers of
Pegasus make them.

    - zookeeper_copy:
        from: [10.0.0.1:2181, 10.0.0.2:2181, 10.0.0.3:2181]
        to: [10.0.1.1:2181, 10.0.1.2:2181, 10.0.1.3:2181]
        path: /pegasus/mycluster`, proposeCopy)
}

type copyArgs struct {
	From    []string      `arg:"from,required" doc:"ZooKeeper servers to copy from, host:port each; a list, or one text with commas"`
	To      []string      `arg:"to,required" doc:"ZooKeeper servers to copy to, likewise"`
	Path    string        `arg:"path,required" doc:"the node, from the root; the same on both"`
	Delete  bool          `arg:"delete" default:"false" doc:"remove what only the target has"`
	Timeout time.Duration `arg:"timeout" default:"5m" doc:"how long the whole task may take"`
}

// copyOutput is how many nodes the source has, and what was done with those of the target.
type copyOutput struct {
	Nodes   int `json:"nodes"`
	Made    int `json:"made"`
	Changed int `json:"changed"`
	Removed int `json:"removed"`
}

func (a *copyArgs) check() error {
	a.From, a.To = zksession.SplitServers(a.From), zksession.SplitServers(a.To)
	for name, servers := range map[string][]string{"from": a.From, "to": a.To} {
		if len(servers) == 0 {
			return &modules.ArgumentError{Arg: name, Problem: name + ": the list of ZooKeeper servers is empty"}
		}
	}
	for _, server := range a.To {
		if slices.Contains(a.From, server) {
			return &modules.ArgumentError{Arg: "to", Problem: server + " is in from and in to; an ensemble is not copied to itself"}
		}
	}
	to := nodeArgs{Servers: a.To, Path: a.Path, State: "absent", Force: true}
	if err := to.check(); err != nil { // what may not be removed may not be made another one either
		return err
	}
	return nil
}

// target is the node as zookeeper_node names it in check mode.
func (a *copyArgs) target() *nodeArgs { return &nodeArgs{Servers: a.To, Path: a.Path} }

// copied is what check mode remembers of a copy that it has predicted, beside the node's own state.
func (a *copyArgs) copied() string {
	return a.target().key(a.Path) + " copied from " + strings.Join(slices.Sorted(slices.Values(a.From)), ",")
}

func proposeCopy(ctx context.Context, call *modules.Call, args copyArgs) (*modules.Proposal, error) {
	if err := args.check(); err != nil {
		return nil, err
	}
	out := &copyOutput{}
	p := &modules.Proposal{Output: out, Predicts: map[string]string{args.target().key(args.Path): "present", args.copied(): "yes"}}
	err := withBoth(ctx, call.Host, args, func(ctx context.Context, c *copying) error {
		todo, err := c.compare(ctx)
		if err != nil {
			return err
		}
		out.Nodes = len(c.source)
		if _, predicted := call.Host.Predicted(args.copied()); predicted || todo.empty() {
			return nil
		}
		todo.count(out)
		p.Diff = []modules.Diff{{Subject: args.Path, Note: todo.String() + " on " + strings.Join(args.To, ",")}}
		p.Do = func(ctx context.Context, host modules.Host) error { return copyNodes(ctx, call, host, args, out) }
		return nil
	})
	return p, err
}

func copyNodes(ctx context.Context, call *modules.Call, host modules.Host, args copyArgs, out *copyOutput) error {
	return withBoth(ctx, host, args, func(ctx context.Context, c *copying) error {
		*out = copyOutput{}
		for range 3 {
			todo, err := c.compare(ctx)
			if err != nil {
				return err
			}
			out.Nodes = len(c.source)
			if todo.empty() {
				return nil
			}
			call.Note("%s", todo)
			if err := c.apply(todo); err != nil {
				return explain(ctx, args.Path, err)
			}
			todo.count(out)
		}
		if todo, err := c.compare(ctx); err != nil || todo.empty() {
			return err
		}
		return fmt.Errorf("%s goes on changing on %s; stop what writes there", args.Path, strings.Join(args.From, ","))
	})
}

// copying is a copy under way.
type copying struct {
	args           copyArgs
	from, to       *zk.Conn
	source, target map[string][]byte
}

// withBoth runs work with a session of each ensemble, within the task's time.
func withBoth(ctx context.Context, host modules.Host, args copyArgs, work func(ctx context.Context, c *copying) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, args.Timeout, fmt.Errorf("ZooKeeper was not done within %s", args.Timeout))
	defer cancel()
	wait := min(args.Timeout*3/4, 15*time.Second)
	from, closeFrom, err := zksession.Connect(ctx, zksession.Options{Dial: host.Dial, Servers: args.From, Wait: wait})
	if err != nil {
		return err
	}
	defer closeFrom()
	to, closeTo, err := zksession.Connect(ctx, zksession.Options{Dial: host.Dial, Servers: args.To, Wait: wait})
	if err != nil {
		return err
	}
	defer closeTo()
	return work(ctx, &copying{args: args, from: from, to: to})
}

// difference is what makes the target the same as the source, parents first.
type difference struct{ make, change, remove []string }

func (d *difference) empty() bool { return len(d.make)+len(d.change)+len(d.remove) == 0 }

func (d *difference) count(out *copyOutput) {
	out.Made, out.Changed, out.Removed = out.Made+len(d.make), out.Changed+len(d.change), out.Removed+len(d.remove)
}

func (d *difference) String() string {
	return fmt.Sprintf("%d nodes to make, %d to change, %d to remove", len(d.make), len(d.change), len(d.remove))
}

func (c *copying) compare(ctx context.Context) (*difference, error) {
	var group errgroup.Group
	var held []string
	group.Go(func() (err error) { c.source, _, err = contents(c.from, c.args.Path); return err })
	group.Go(func() (err error) { c.target, held, err = contents(c.to, c.args.Path); return err })
	if err := group.Wait(); err != nil {
		return nil, explain(ctx, c.args.Path, err)
	}
	if len(c.source) == 0 {
		return nil, fmt.Errorf("there is no %s on %s", c.args.Path, strings.Join(c.args.From, ","))
	}
	if len(held) > 0 {
		return nil, fmt.Errorf("a running process holds %s on %s: it is in use", held[0], strings.Join(c.args.To, ","))
	}
	d := &difference{}
	for _, node := range slices.Sorted(maps.Keys(c.source)) {
		switch now, ok := c.target[node]; {
		case !ok:
			d.make = append(d.make, node)
		case !bytes.Equal(now, c.source[node]):
			d.change = append(d.change, node)
		}
	}
	for _, node := range slices.Sorted(maps.Keys(c.target)) {
		if _, ok := c.source[node]; !ok {
			d.remove = append(d.remove, node)
		}
	}
	if len(d.remove) > 0 && !c.args.Delete {
		return nil, fmt.Errorf("%s has %d nodes that %s has not, such as %s: somebody else's, or a copy from earlier; remove them, or set delete",
			strings.Join(c.args.To, ","), len(d.remove), strings.Join(c.args.From, ","), d.remove[0])
	}
	return d, nil
}

// contents reads a subtree; nothing where it is not there. Temporary nodes are told apart.
func contents(conn *zk.Conn, root string) (all map[string][]byte, held []string, err error) {
	found, err := walk(conn, root)
	if err != nil {
		return nil, nil, err
	}
	all = map[string][]byte{}
	var mu sync.Mutex
	var group errgroup.Group
	group.SetLimit(inFlight)
	for _, node := range slices.Concat(found.levels...) {
		if slices.Contains(found.held, node) {
			continue
		}
		group.Go(func() error {
			value, _, err := conn.Get(node)
			if errors.Is(err, zk.ErrNoNode) {
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			all[node] = value
			return err
		})
	}
	return all, found.held, group.Wait()
}

// apply makes parents before what is below them, and removes from the leaves up.
func (c *copying) apply(d *difference) error {
	for _, level := range levels(d.make) {
		var group errgroup.Group
		group.SetLimit(inFlight)
		for _, node := range level {
			group.Go(func() error {
				if node == c.args.Path {
					value := string(c.source[node])
					return put(c.to, node, &value) // with what is above
				}
				_, err := c.to.Create(node, c.source[node], 0, zk.WorldACL(zk.PermAll))
				return err
			})
		}
		if err := group.Wait(); err != nil {
			return err
		}
	}
	for _, node := range d.change {
		if _, err := c.to.Set(node, c.source[node], -1); err != nil {
			return err
		}
	}
	for _, node := range slices.Backward(d.remove) {
		if err := c.to.Delete(node, -1); err != nil && !errors.Is(err, zk.ErrNoNode) {
			return err
		}
	}
	return nil
}

// levels sorts nodes by how deep they lie: those of one level do not need each other.
func levels(nodes []string) [][]string {
	byDepth := map[int][]string{}
	for _, node := range nodes {
		depth := strings.Count(node, "/")
		byDepth[depth] = append(byDepth[depth], node)
	}
	var all [][]string
	for _, depth := range slices.Sorted(maps.Keys(byDepth)) {
		all = append(all, byDepth[depth])
	}
	return all
}
