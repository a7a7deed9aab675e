// Package zookeeper has the module for ZooKeeper's nodes and says whether an ensemble is healthy.
//
// It connects through the managed host, so that the control node need not reach the ensemble.
package zookeeper

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/go-zookeeper/zk"
	"golang.org/x/sync/errgroup"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/zksession"
)

// All lists the modules of this package.
func All() []*modules.Module {
	node := nodeModule()
	node.Output = modules.ShapeOf[nodeOutput]()
	copied := copyModule()
	copied.Output = modules.ShapeOf[copyOutput]()
	return []*modules.Module{node, copied}
}

func nodeModule() *modules.Module {
	return modules.Define("zookeeper_node", `Make or remove a ZooKeeper node

state present makes the node, with its parents, and gives it value where one is given. state absent
removes it; recursive removes what is below as well.

Some removals are refused unless force is set: of a node directly below the root, which is usually the
home of many clusters, and of a subtree in which a process holds a temporary node (a lock, a
registration), because that process is still running; half the timeout is waited for it to end. The root
and /zookeeper are never removed.

    - zookeeper_node:
        servers: [10.0.0.1:2181, 10.0.0.2:2181, 10.0.0.3:2181]
        path: /pegasus/mycluster
        state: absent
        recursive: true`, propose)
}

type nodeArgs struct {
	Servers   []string      `arg:"servers,required,alias=hosts" doc:"ZooKeeper servers, host:port each; a list, or one text with commas"`
	Path      string        `arg:"path,required,alias=name" doc:"the node, from the root"`
	State     string        `arg:"state" default:"present" choices:"present,absent" doc:"what should be"`
	Value     *string       `arg:"value" doc:"present: the node's content; left alone when not given"`
	Recursive bool          `arg:"recursive" default:"false" doc:"absent: remove what is below as well"`
	Force     bool          `arg:"force" default:"false" doc:"absent: remove what would be refused"`
	Timeout   time.Duration `arg:"timeout" default:"1m" doc:"how long the whole task may take"`
}

// nodeOutput is what was found, and what was done.
type nodeOutput struct {
	Path    string `json:"path"`
	Exists  bool   `json:"exists"`
	Value   string `json:"value"`
	Version int32  `json:"version"`
	// Nodes is how many nodes were removed, or would be.
	Nodes int `json:"nodes"`
}

func (a *nodeArgs) check() error {
	a.Servers = zksession.SplitServers(a.Servers)
	if len(a.Servers) == 0 {
		return &modules.ArgumentError{Arg: "servers", Problem: "the list of ZooKeeper servers is empty"}
	}
	if !strings.HasPrefix(a.Path, "/") || path.Clean(a.Path) != a.Path {
		return &modules.ArgumentError{Arg: "path", Problem: fmt.Sprintf("path is %q", a.Path), Hint: "write it from the root, such as /pegasus/mycluster"}
	}
	if a.State != "absent" {
		return nil
	}
	if a.Path == "/" || a.Path == "/zookeeper" || strings.HasPrefix(a.Path, "/zookeeper/") {
		return &modules.ArgumentError{Arg: "path", Problem: a.Path + " is ZooKeeper's own and is never removed"}
	}
	if strings.Count(a.Path, "/") < 2 && !a.Force {
		return &modules.ArgumentError{Arg: "path", Problem: a.Path + " stands directly below the root, where others may have their nodes too",
			Hint: "name a node further down, or set force"}
	}
	return nil
}

func (a *nodeArgs) key(node string) string {
	return "cluster/zookeeper/" + strings.Join(slices.Sorted(slices.Values(a.Servers)), ",") + node
}

// predicted is what check mode would have left of the node: "absent", "present", "value " with the value
// behind, or "" when nothing.
func (a *nodeArgs) predicted(host modules.Host) string {
	for p := a.Path; ; p = path.Dir(p) {
		state, ok := host.Predicted(a.key(p))
		switch {
		case ok && state == "absent", ok && p == a.Path:
			return state
		case p == "/":
			return ""
		}
	}
}

func propose(ctx context.Context, call *modules.Call, args nodeArgs) (*modules.Proposal, error) {
	if err := args.check(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, args.Timeout, fmt.Errorf("ZooKeeper did not answer within %s", args.Timeout))
	defer cancel()
	conn, closed, err := args.connect(ctx, call.Host)
	if err != nil {
		return nil, err
	}
	defer closed()
	out := &nodeOutput{Path: args.Path}
	value, stat, err := conn.Get(args.Path)
	switch {
	case err == nil:
		out.Exists, out.Value, out.Version = true, string(value), stat.Version
	case !errors.Is(err, zk.ErrNoNode):
		return nil, explain(ctx, args.Path, err)
	}
	if state := args.predicted(call.Host); state != "" {
		out.Exists = state != "absent"
		if value, ok := strings.CutPrefix(state, "value "); ok {
			out.Value = value
		}
	}
	if args.State == "absent" {
		return proposeAbsent(ctx, call, conn, args, out)
	}
	return proposePresent(args, out)
}

// explain puts the node, and what ended the work, into an error of the library.
func explain(ctx context.Context, node string, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("%s: %w", node, err)
}

func proposePresent(args nodeArgs, out *nodeOutput) (*modules.Proposal, error) {
	after := "present"
	if args.Value != nil {
		after = "value " + *args.Value
	}
	p := &modules.Proposal{Output: out, Predicts: map[string]string{args.key(args.Path): after}}
	switch {
	case !out.Exists:
		p.Diff = []modules.Diff{{Subject: args.Path, Note: "absent → present"}}
	case args.Value != nil && *args.Value != out.Value:
		p.Diff = []modules.Diff{{Subject: args.Path, Before: out.Value, After: *args.Value}}
	default:
		return p, nil
	}
	p.Do = func(ctx context.Context, host modules.Host) error {
		return withSession(ctx, host, args, func(ctx context.Context, conn *zk.Conn) error {
			return explainNil(ctx, args.Path, put(conn, args.Path, args.Value), func() { out.Exists = true })
		})
	}
	return p, nil
}

func explainNil(ctx context.Context, node string, err error, done func()) error {
	if err != nil {
		return explain(ctx, node, err)
	}
	done()
	return nil
}

// connect opens a session through a host.
func (a *nodeArgs) connect(ctx context.Context, host modules.Host) (*zk.Conn, func(), error) {
	return zksession.Connect(ctx, zksession.Options{Dial: host.Dial, Servers: a.Servers, Wait: min(a.Timeout*3/4, 15*time.Second)})
}

// withSession runs work with a session of its own, within the task's time.
func withSession(ctx context.Context, host modules.Host, args nodeArgs, work func(ctx context.Context, conn *zk.Conn) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, args.Timeout, fmt.Errorf("ZooKeeper was not done within %s", args.Timeout))
	defer cancel()
	conn, closed, err := args.connect(ctx, host)
	if err != nil {
		return err
	}
	defer closed()
	return work(ctx, conn)
}

// put makes a node with its parents, or sets the value of one that is there.
func put(conn *zk.Conn, node string, value *string) error {
	content := []byte{}
	if value != nil {
		content = []byte(*value)
	}
	for i := 1; i < len(node); i++ {
		if node[i] != '/' {
			continue
		}
		if _, err := conn.Create(node[:i], nil, 0, zk.WorldACL(zk.PermAll)); err != nil && !errors.Is(err, zk.ErrNodeExists) {
			return err
		}
	}
	_, err := conn.Create(node, content, 0, zk.WorldACL(zk.PermAll))
	if errors.Is(err, zk.ErrNodeExists) {
		if value == nil {
			return nil
		}
		_, err = conn.Set(node, content, -1)
	}
	return err
}

func proposeAbsent(ctx context.Context, call *modules.Call, conn *zk.Conn, args nodeArgs, out *nodeOutput) (*modules.Proposal, error) {
	p := &modules.Proposal{Output: out, Predicts: map[string]string{args.key(args.Path): "absent"}}
	if !out.Exists {
		return p, nil
	}
	found, err := walk(conn, args.Path)
	if err != nil {
		return nil, explain(ctx, args.Path, err)
	}
	if len(found.levels) > 1 && !args.Recursive {
		return nil, fmt.Errorf("%s has %d nodes below; set recursive to remove them too", args.Path, found.count-1)
	}
	out.Nodes = found.count
	p.Diff = []modules.Diff{{Subject: args.Path, Before: strings.Join(found.names(20), "\n"), Note: fmt.Sprintf("removes %d nodes", found.count)}}
	p.Do = func(ctx context.Context, host modules.Host) error {
		return withSession(ctx, host, args, func(ctx context.Context, conn *zk.Conn) error {
			return explainNil(ctx, args.Path, remove(ctx, call, conn, args), func() { out.Exists = false })
		})
	}
	return p, nil
}

// subtree is a node with everything below, level by level.
type subtree struct {
	levels [][]string
	// held are temporary nodes: their makers are running.
	held  []string
	count int
}

func (s *subtree) names(most int) []string {
	var names []string
	for _, level := range s.levels {
		for _, n := range level {
			if len(names) == most {
				return append(names, fmt.Sprintf("… %d more", s.count-most))
			}
			names = append(names, n)
		}
	}
	return names
}

const inFlight = 16

// walk lists a subtree. Nodes that vanish meanwhile are left out.
func walk(conn *zk.Conn, root string) (*subtree, error) {
	s := &subtree{}
	level := []string{root}
	for len(level) > 0 {
		below := make([][]string, len(level))
		held := make([]bool, len(level))
		var group errgroup.Group
		group.SetLimit(inFlight)
		for i, node := range level {
			group.Go(func() error {
				children, stat, err := conn.Children(node)
				if errors.Is(err, zk.ErrNoNode) {
					return nil
				}
				if err != nil {
					return err
				}
				held[i] = stat.EphemeralOwner != 0
				for _, child := range children {
					below[i] = append(below[i], path.Join(node, child))
				}
				return nil
			})
		}
		if err := group.Wait(); err != nil {
			return nil, err
		}
		for i, node := range level {
			if held[i] {
				s.held = append(s.held, node)
			}
		}
		s.count += len(level)
		s.levels = append(s.levels, level)
		level = slices.Concat(below...)
		slices.Sort(level)
	}
	return s, nil
}

// letGo waits until nobody holds a node of the subtree: the nodes of a process that was killed outlive
// it by its session's timeout.
func letGo(ctx context.Context, call *modules.Call, conn *zk.Conn, args nodeArgs) (*subtree, error) {
	for deadline := time.Now().Add(args.Timeout / 2); ; {
		found, err := walk(conn, args.Path)
		if err != nil || len(found.held) == 0 || args.Force {
			return found, err
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("a running process holds %s; stop it first, or set force", found.held[0])
		}
		call.Note("waiting for a process to let go of %s", found.held[0])
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// remove deletes from the leaves up, and once more what somebody has added meanwhile.
func remove(ctx context.Context, call *modules.Call, conn *zk.Conn, args nodeArgs) error {
	for attempt := 1; ; attempt++ {
		found, err := letGo(ctx, call, conn, args)
		if err != nil {
			return err
		}
		call.Note("removing %d nodes below %s", found.count, args.Path)
		for _, level := range slices.Backward(found.levels) {
			var group errgroup.Group
			group.SetLimit(inFlight)
			for _, node := range level {
				group.Go(func() error {
					if err := conn.Delete(node, -1); err != nil && !errors.Is(err, zk.ErrNoNode) {
						return err
					}
					return nil
				})
			}
			if err = group.Wait(); err != nil {
				break
			}
		}
		if err == nil || !errors.Is(err, zk.ErrNotEmpty) || attempt == 3 || ctx.Err() != nil {
			return err
		}
	}
}
