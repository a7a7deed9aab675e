package meta

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pegbook/pegbook/lab/pegasus/internal/peer"
)

// ErrNotEmpty is the assertion of a meta that is told to recover and finds tables.
var ErrNotEmpty = errors.New("server_state.cpp:586:initialize_data_structure(): assertion expression: [_all_apps.empty()] " +
	"find apps from remote storage, but [meta_server].recover_from_replica_server = true")

// UnderRecovery tells whether this leader has no tables yet and waits to be told
// where to get them from.
func (s *State) UnderRecovery() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.recovering
}

// RecoveryRequest is where the tables are to come from.
type RecoveryRequest struct {
	Nodes             []peer.Addr
	SkipBad, SkipLost bool
}

// found is what one replica server holds.
type found struct {
	node peer.Addr
	peer.Inventory
}

// Recover makes the tables anew out of what replica servers hold
// (facts/pegasus.md §10.7).
func (s *State) Recover(ctx context.Context, q RecoveryRequest) (code, hint string) {
	if !s.UnderRecovery() {
		return "ERR_SERVICE_NOT_ACTIVE", ""
	}
	var all []found
	for _, node := range q.Nodes {
		have, err := s.Inventory(ctx, node)
		switch {
		case err == nil:
			all = append(all, found{node, have})
		case q.SkipBad:
			hint += fmt.Sprintf("WARNING: collect app and replica from node(%s) failed with err(ERR_TIMEOUT), skip the bad node\n", node)
		default:
			return "ERR_TRY_AGAIN", hint + fmt.Sprintf("ERROR: collect app and replica from node(%s) failed with err(ERR_TIMEOUT), "+
				"you can skip it by set skip_bad_nodes option\n", node)
		}
	}
	tables, parts, lost := rebuilt(all)
	if len(tables) == 0 {
		return "ERR_TRY_AGAIN", hint + "ERROR: no app is collected\n"
	}
	for _, pid := range lost {
		hint += fmt.Sprintf("WARNING: partition(%s) has no replica collected, may be lost\n", pid)
	}
	if len(lost) > 0 && !q.SkipLost {
		return "ERR_TRY_AGAIN", hint + "ERROR: there are lost partitions, you can skip them by set skip_lost_partitions option\n"
	}
	if err := s.takeOver(ctx, tables, parts); err != nil {
		return "ERR_ZOOKEEPER_OPERATION", hint
	}
	return OK, strings.TrimSuffix(hint, "\n")
}

// rebuilt makes tables of what was found. A partition's holders are former
// members, the one with the newest data last: the guardian revives it first.
func rebuilt(all []found) (tables []Table, parts map[int32][]peer.Config, lost []peer.GPID) {
	known, held := map[int32]peer.Table{}, map[peer.GPID][]holder{}
	for _, f := range all {
		for _, t := range f.Tables {
			known[t.ID] = t
		}
		for _, r := range f.Replicas {
			held[r.PID] = append(held[r.PID], holder{f.node, r})
		}
	}
	parts = map[int32][]peer.Config{}
	for _, id := range slices.Sorted(maps.Keys(known)) {
		t := known[id]
		nt := Table{Status: Available, Type: "pegasus", Name: t.Name, ID: id, Partitions: t.Partitions, Envs: maps.Clone(t.Envs),
			Stateful: true, Replicas: t.Replicas, Init: -1}
		if nt.Envs == nil {
			nt.Envs = map[string]string{}
		}
		list := emptyPartitions(nt)
		for i := range list {
			some := held[list[i].PID]
			if len(some) == 0 {
				lost = append(lost, list[i].PID)
			}
			slices.SortFunc(some, older)
			for _, h := range some {
				list[i].LastDrops = append(list[i].LastDrops, h.node)
				list[i].Ballot, list[i].Committed = max(list[i].Ballot, h.stored.Ballot), h.stored.Decree
			}
		}
		tables, parts[id] = append(tables, nt), list
	}
	return tables, parts, lost
}

// holder is a node with a replica.
type holder struct {
	node   peer.Addr
	stored peer.Stored
}

func older(a, b holder) int {
	return cmp.Or(cmp.Compare(a.stored.Ballot, b.stored.Ballot), cmp.Compare(a.stored.Decree, b.stored.Decree))
}

// takeOver stores the tables and begins to serve them.
func (s *State) takeOver(ctx context.Context, tables []Table, parts map[int32][]peer.Config) error {
	for _, t := range tables {
		if err := s.Store.Create(ctx, t, parts[t.ID]); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range tables {
		s.adopt(t, parts[t.ID])
	}
	s.recovering = false
	s.Log('I', "server_state.cpp:2820:sync_apps_from_replica_nodes()", "sync apps from replica nodes succeed, app_count = %d", len(tables))
	return nil
}
