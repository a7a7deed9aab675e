package zookeeper

// watches is who waits for a change of which path. Each fires once. Its owner locks it.
type watches struct {
	data, child map[string]map[*conn]bool
}

func newWatches() *watches {
	return &watches{data: map[string]map[*conn]bool{}, child: map[string]map[*conn]bool{}}
}

func watch(table map[string]map[*conn]bool, path string, c *conn) {
	if table[path] == nil {
		table[path] = map[*conn]bool{}
	}
	table[path][c] = true
}

// fire tells who waits for an event, each connection once.
func (w *watches) fire(e event) {
	switch e.kind {
	case eventChildren:
		w.tell(w.child, e, nil)
	case eventDeleted:
		w.tell(w.child, e, w.tell(w.data, e, nil))
	default:
		w.tell(w.data, e, nil)
	}
}

func (w *watches) tell(table map[string]map[*conn]bool, e event, told map[*conn]bool) map[*conn]bool {
	waiting := table[e.path]
	delete(table, e.path)
	for c := range waiting {
		if !told[c] {
			c.notify(e)
		}
	}
	return waiting
}

// forget drops all watches of a connection that ended.
func (w *watches) forget(c *conn) {
	for _, table := range []map[string]map[*conn]bool{w.data, w.child} {
		for path, waiting := range table {
			delete(waiting, c)
			if len(waiting) == 0 {
				delete(table, path)
			}
		}
	}
}

func (w *watches) count() int {
	n := 0
	for _, table := range []map[string]map[*conn]bool{w.data, w.child} {
		for _, waiting := range table {
			n += len(waiting)
		}
	}
	return n
}

// renew sets the watches of a client that reconnected, or tells it at once what it has missed.
func (w *watches) renew(t *tree, s setWatches, c *conn) {
	for _, path := range s.data {
		switch n := t.nodes[path]; {
		case n == nil:
			c.notify(event{eventDeleted, path})
		case n.stat.Mzxid > s.relativeZxid:
			c.notify(event{eventData, path})
		default:
			watch(w.data, path, c)
		}
	}
	for _, path := range s.exist {
		if t.nodes[path] != nil {
			c.notify(event{eventCreated, path})
		} else {
			watch(w.data, path, c)
		}
	}
	for _, path := range s.child {
		switch n := t.nodes[path]; {
		case n == nil:
			c.notify(event{eventDeleted, path})
		case n.stat.Pzxid > s.relativeZxid:
			c.notify(event{eventChildren, path})
		default:
			watch(w.child, path, c)
		}
	}
}
