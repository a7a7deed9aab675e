package zookeeper

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// node is one znode. Its version counters follow the real server's, whose cversion is derived from the
// number of children ever created.
type node struct {
	data     []byte // nil is ZooKeeper's null, told from empty
	acl      []acl
	stat     stat // as kept; stats gives it as clients see it
	creates  int32
	children map[string]bool
}

func (n *node) stats() stat {
	s := n.stat
	s.DataLength = int32(len(n.data))
	s.NumChildren = int32(len(n.children))
	s.Cversion = n.creates*2 - s.NumChildren
	if s.EphemeralOwner == containerOwner {
		s.EphemeralOwner = 0
	}
	return s
}

func (n *node) names() []string { return slices.Sorted(maps.Keys(n.children)) }

// tree is the nodes by path and who owns the ephemeral ones. Its owner locks it.
type tree struct {
	nodes      map[string]*node
	ephemerals map[int64]map[string]bool
}

func newTree() *tree {
	t := &tree{nodes: map[string]*node{}, ephemerals: map[int64]map[string]bool{}}
	world := []acl{{Perms: 31, Scheme: "world", ID: "anyone"}}
	for _, path := range []string{"/", "/zookeeper", "/zookeeper/config", "/zookeeper/quota"} {
		t.nodes[path] = &node{acl: world, children: map[string]bool{}}
	}
	t.nodes["/"].data = []byte{}
	t.nodes["/"].children["zookeeper"] = true
	t.nodes["/zookeeper"].children["config"] = true
	t.nodes["/zookeeper"].children["quota"] = true
	return t
}

// eventKind is what a watch reports.
type eventKind int32

const (
	eventCreated  eventKind = 1
	eventDeleted  eventKind = 2
	eventData     eventKind = 3
	eventChildren eventKind = 4
)

// event is one change that watches may wait for.
type event struct {
	kind eventKind
	path string
}

// txn is a change of the tree that takes effect as a whole: rollback undoes all of it, and its
// events are for whoever commits it.
type txn struct {
	tree    *tree
	zxid    int64
	now     int64 // milliseconds since 1970
	session int64
	events  []event
	undo    []func()
}

func (x *txn) rollback() {
	for _, undo := range slices.Backward(x.undo) {
		undo()
	}
	x.undo, x.events = nil, nil
}

// restore makes rollback put a node's own values back as they are now; link and unlink do the children.
func (x *txn) restore(n *node) {
	before := *n
	x.undo = append(x.undo, func() { *n = before })
}

func (x *txn) link(parent *node, name string) {
	x.restore(parent)
	parent.children[name] = true
	parent.stat.Pzxid = x.zxid
	x.undo = append(x.undo, func() { delete(parent.children, name) })
}

func (x *txn) unlink(parent *node, name string) {
	x.restore(parent)
	delete(parent.children, name)
	parent.stat.Pzxid = x.zxid
	x.undo = append(x.undo, func() { parent.children[name] = true })
}

func (x *txn) create(r request) (string, errCode) {
	switch {
	case r.flags == 5 || r.flags == 6:
		return "", errUnimplemented // times to live are off by default in the real server too
	case r.flags < 0 || r.flags > flagContainer:
		return "", errBadArguments
	}
	slash := strings.LastIndexByte(r.path, '/')
	if slash < 0 || strings.IndexByte(r.path, 0) >= 0 {
		return "", errBadArguments
	}
	if !validACL(r.acl) {
		return "", errInvalidACL
	}
	parent, ok := x.tree.nodes[parentOf(r.path)]
	if !ok {
		return "", errNoNode
	}
	path := r.path
	if r.flags&flagSequential != 0 {
		path += fmt.Sprintf("%010d", parent.creates)
	}
	if !validPath(path) {
		return "", errBadArguments
	}
	if x.tree.nodes[path] != nil {
		return "", errNodeExists
	}
	if owner := parent.stat.EphemeralOwner; owner != 0 && owner != containerOwner {
		return "", errNoChildrenForEphemerals
	}
	x.add(parent, path, r)
	return path, errOK
}

func (x *txn) add(parent *node, path string, r request) {
	n := &node{data: r.data, acl: r.acl, children: map[string]bool{}}
	n.stat = stat{Czxid: x.zxid, Mzxid: x.zxid, Pzxid: x.zxid, Ctime: x.now, Mtime: x.now}
	switch {
	case r.flags == flagContainer:
		n.stat.EphemeralOwner = containerOwner
	case r.flags&flagEphemeral != 0:
		n.stat.EphemeralOwner = x.session
		x.own(x.session, path)
	}
	x.link(parent, baseOf(path))
	parent.creates++
	x.tree.nodes[path] = n
	x.undo = append(x.undo, func() { delete(x.tree.nodes, path) })
	x.events = append(x.events, event{eventCreated, path}, event{eventChildren, parentOf(path)})
}

func (x *txn) own(session int64, path string) {
	owned := x.tree.ephemerals[session]
	if owned == nil {
		owned = map[string]bool{}
		x.tree.ephemerals[session] = owned
	}
	owned[path] = true
	x.undo = append(x.undo, func() { delete(owned, path) })
}

func (x *txn) delete(path string, version int32) errCode {
	slash := strings.LastIndexByte(path, '/')
	if slash < 0 || strings.IndexByte(path, 0) >= 0 || path == "/" || path == "/zookeeper" {
		return errBadArguments
	}
	n, ok := x.tree.nodes[path]
	if !ok {
		return errNoNode
	}
	if !matches(version, n.stat.Version) {
		return errBadVersion
	}
	if len(n.children) > 0 {
		return errNotEmpty
	}
	x.remove(path, n)
	return errOK
}

func (x *txn) remove(path string, n *node) {
	x.unlink(x.tree.nodes[parentOf(path)], baseOf(path))
	delete(x.tree.nodes, path)
	x.undo = append(x.undo, func() { x.tree.nodes[path] = n })
	if owned := x.tree.ephemerals[n.stat.EphemeralOwner]; owned[path] {
		delete(owned, path)
		x.undo = append(x.undo, func() { owned[path] = true })
	}
	x.events = append(x.events, event{eventDeleted, path}, event{eventChildren, parentOf(path)})
}

func (x *txn) setData(path string, data []byte, version int32) (stat, errCode) {
	n, code := x.versioned(path, version, func(n *node) int32 { return n.stat.Version })
	if code != errOK {
		return stat{}, code
	}
	x.restore(n)
	n.data = data
	n.stat.Version++
	n.stat.Mzxid, n.stat.Mtime = x.zxid, x.now
	x.events = append(x.events, event{eventData, path})
	return n.stats(), errOK
}

func (x *txn) setACL(path string, list []acl, version int32) (stat, errCode) {
	if validPath(path) && !validACL(list) {
		return stat{}, errInvalidACL
	}
	n, code := x.versioned(path, version, func(n *node) int32 { return n.stat.Aversion })
	if code != errOK {
		return stat{}, code
	}
	x.restore(n)
	n.acl = list
	n.stat.Aversion++
	return n.stats(), errOK
}

func (x *txn) check(path string, version int32) errCode {
	_, code := x.versioned(path, version, func(n *node) int32 { return n.stat.Version })
	return code
}

// versioned finds a node and compares the version that the caller expects.
func (x *txn) versioned(path string, want int32, have func(*node) int32) (*node, errCode) {
	if !validPath(path) {
		return nil, errBadArguments
	}
	n, ok := x.tree.nodes[path]
	if !ok {
		return nil, errNoNode
	}
	if !matches(want, have(n)) {
		return nil, errBadVersion
	}
	return n, errOK
}

// removeOwned removes the ephemeral nodes of a session that ended.
func (x *txn) removeOwned(session int64) {
	for _, path := range slices.Sorted(maps.Keys(x.tree.ephemerals[session])) {
		x.remove(path, x.tree.nodes[path])
	}
	delete(x.tree.ephemerals, session)
}

func matches(want, have int32) bool { return want == -1 || want == have }

func parentOf(path string) string {
	if i := strings.LastIndexByte(path, '/'); i > 0 {
		return path[:i]
	}
	return "/"
}

func baseOf(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

// validPath is what the real server accepts in changes.
func validPath(path string) bool {
	if path == "/" {
		return true
	}
	if !strings.HasPrefix(path, "/") {
		return false
	}
	for part := range strings.SplitSeq(path[1:], "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	return !strings.ContainsFunc(path, func(r rune) bool {
		return r < 0x20 || r >= 0x7f && r <= 0x9f || r >= 0xd800 && r <= 0xf8ff || r >= 0xfff0 && r <= 0xffff
	})
}

// validACL wants an entry, and each of a scheme that needs no authenticated session: nobody
// authenticates here.
func validACL(list []acl) bool {
	for _, a := range list {
		switch a.Scheme {
		case "world":
			if a.ID != "anyone" {
				return false
			}
		case "digest", "ip":
		default:
			return false
		}
	}
	return len(list) > 0
}
