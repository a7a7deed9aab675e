package zookeeper

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"
)

// snapshot is the file that keeps a server's state.
type snapshot struct {
	Zxid     int64          `json:"zxid"`
	Secret   []byte         `json:"secret"`
	Sessions []savedSession `json:"sessions"`
	Nodes    []savedNode    `json:"nodes"`
}

type savedSession struct {
	ID        int64 `json:"id"`
	TimeoutMS int64 `json:"timeout_ms"`
}

type savedNode struct {
	Path    string `json:"path"`
	Data    []byte `json:"data"` // null stays null, told from empty
	ACL     []acl  `json:"acl"`
	Stat    stat   `json:"stat"`
	Creates int32  `json:"creates"`
}

// save writes the snapshot if something changed since the last time.
func (s *Server) save() error {
	p, err := s.encode()
	if p == nil || err != nil {
		return err
	}
	next := s.options.Snapshot + ".new"
	if err := os.WriteFile(next, p, 0o600); err != nil {
		return fmt.Errorf("save the ZooKeeper snapshot: %w", err)
	}
	return os.Rename(next, s.options.Snapshot)
}

func (s *Server) encode() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.options.Snapshot == "" || !s.dirty {
		return nil, nil
	}
	out := snapshot{Zxid: s.zxid, Secret: s.secret}
	for _, session := range s.sessions {
		out.Sessions = append(out.Sessions, savedSession{session.id, session.timeout.Milliseconds()})
	}
	for path, n := range s.tree.nodes {
		out.Nodes = append(out.Nodes, savedNode{path, n.data, n.acl, n.stat, n.creates})
	}
	s.dirty = false
	return json.Marshal(out)
}

// load reads the snapshot. The transaction counter goes on in a new epoch, as after an election: a
// client may have seen changes that were not saved, and must not take us for a server that lags.
func (s *Server) load() error {
	if s.options.Snapshot == "" {
		return nil
	}
	p, err := os.ReadFile(s.options.Snapshot)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var in snapshot
	if err == nil {
		err = json.Unmarshal(p, &in)
	}
	if err != nil {
		return fmt.Errorf("read the ZooKeeper snapshot %s (remove it to start empty): %w", s.options.Snapshot, err)
	}
	if !slices.ContainsFunc(in.Nodes, func(n savedNode) bool { return n.Path == "/" }) {
		return fmt.Errorf("read the ZooKeeper snapshot %s: it has no root node (remove it to start empty)", s.options.Snapshot)
	}
	s.zxid, s.secret = (in.Zxid>>32+1)<<32, in.Secret
	s.tree = &tree{nodes: map[string]*node{}, ephemerals: map[int64]map[string]bool{}}
	for _, n := range in.Nodes {
		s.tree.nodes[n.Path] = &node{data: n.Data, acl: n.ACL, stat: n.Stat, creates: n.Creates, children: map[string]bool{}}
	}
	for _, n := range in.Nodes {
		if parent := s.tree.nodes[parentOf(n.Path)]; n.Path != "/" && parent != nil {
			parent.children[baseOf(n.Path)] = true
		}
		if owner := n.Stat.EphemeralOwner; owner != 0 && owner != containerOwner {
			x := txn{tree: s.tree}
			x.own(owner, n.Path)
		}
	}
	for _, saved := range in.Sessions {
		session := &session{id: saved.ID, timeout: time.Duration(saved.TimeoutMS) * time.Millisecond}
		session.touch()
		s.sessions[session.id] = session
	}
	return nil
}
