package meta

import (
	"slices"

	"github.com/pegbook/pegbook/lab/pegasus/internal/peer"
)

// operations are what the balancer would do, as balance_operation_count shows.
type operationCount struct{ movePri, copyPri, copySec int }

func (o operationCount) total() int { return o.movePri + o.copyPri + o.copySec }

// balance evens out the primaries of each table, by moves and where these do not
// do by copies, and when that is done all its replicas, by copies. Below lively
// it only counts what it would do. It works when all is healthy; until then the
// last count stays.
func (s *State) balance(healthy bool) {
	if !healthy || !s.canBalance() {
		return
	}
	if !s.informed() {
		s.moves = operationCount{}
		return
	}
	if s.effectiveLevel() >= Lively {
		p := s.plan(false)
		for _, step := range p.steps {
			s.enqueue(step.part, step.actions)
		}
		if len(p.steps) > 0 {
			s.moves = p.count
			return
		}
	}
	s.moves = s.plan(true).count
}

// canBalance is false while a dead node is a member anywhere, or a table is on
// its way.
func (s *State) canBalance() bool {
	for a, n := range s.load.members {
		if n > 0 && !s.alive(a) {
			return false
		}
	}
	for _, t := range s.tables {
		if t.Status != Available && t.Status != Dropped {
			return false
		}
	}
	return len(s.liveNodes()) > 0
}

// informed tells whether each node has reported every replica that it serves,
// which a new one does only at its next report. Until then the balancer finds
// nothing to do, and counts as much.
func (s *State) informed() bool {
	for _, t := range s.tables {
		for _, p := range t.parts {
			if t.Status == Available && (!s.reported(p, p.Primary) || slices.ContainsFunc(p.Secondaries, func(a peer.Addr) bool { return !s.reported(p, a) })) {
				return false
			}
		}
	}
	return true
}

func (s *State) reported(p *partition, a peer.Addr) bool {
	_, ok := s.nodes[a].stored[p.PID]
	return ok
}

// plan is one round of the balancer.
type plan struct {
	nodes []peer.Addr
	index map[peer.Addr]int
	used  map[*partition]bool
	steps []step
	count operationCount
}

// step is what is to happen to one partition.
type step struct {
	part    *partition
	actions []action
}

// plan decides what to do. A real round has no copies of secondaries while there
// are primaries to even out; a check counts both.
func (s *State) plan(check bool) *plan {
	p := &plan{nodes: s.liveNodes(), index: map[peer.Addr]int{}, used: map[*partition]bool{}}
	for i, a := range p.nodes {
		p.index[a] = i
	}
	inTurn := s.flags.inTurn && !check
	each := func(f func(t *table)) {
		for _, t := range s.sortedTables() {
			if t.Status == Available && !slices.Contains(s.flags.ignored, t.ID) && !(inTurn && len(p.steps) > 0) {
				f(t)
			}
		}
	}
	each(func(t *table) { p.primaries(t, s.flags.onlyMove) })
	if s.flags.onlyPrimary || !check && len(p.steps) > 0 {
		return p
	}
	each(p.copySecondaries)
	return p
}

func (p *plan) add(part *partition, actions ...action) {
	p.used[part] = true
	p.steps = append(p.steps, step{part, actions})
}

// primaries evens out one table's primaries: as many as the best path of moves
// through the graph of members takes; when there is none, by copies.
func (p *plan) primaries(t *table, onlyMove bool) {
	counts := p.counts(t, true)
	low := len(t.parts) / len(p.nodes)
	high := (len(t.parts) + len(p.nodes) - 1) / len(p.nodes)
	over, under := 0, 0
	for _, n := range counts {
		if n > high {
			over++
		} else if n < low {
			under++
		}
	}
	if over == 0 && under == 0 {
		return
	}
	path, flow := newGraph(p, t, counts, low, over > 0 && under == 0).widest()
	for i := 0; i+1 < len(path); i++ {
		p.move(t, p.nodes[path[i]], p.nodes[path[i+1]], flow)
	}
	if len(path) > 0 || onlyMove {
		return
	}
	p.copyAll(t, true, counts, func(least, most int) bool {
		if under > 0 {
			return least >= low
		}
		return most-least <= 1
	})
}

// move has n primaries go from one node to one of their secondaries.
func (p *plan) move(t *table, from, to peer.Addr, n int) {
	for _, part := range t.parts {
		if n > 0 && part.Primary == from && part.IsSecondary(to) && !p.used[part] {
			n--
			p.count.movePri++
			p.add(part, action{target: from, node: from, kind: peer.DowngradeToSecondary}, action{target: to, node: to, kind: peer.UpgradeToPrimary})
		}
	}
}

// counts are one table's primaries, or all its members, for each node.
func (p *plan) counts(t *table, primaries bool) []int {
	out := make([]int, len(p.nodes))
	for _, part := range t.parts {
		if i, ok := p.index[part.Primary]; ok {
			out[i]++
		}
		for _, a := range part.Secondaries {
			if i, ok := p.index[a]; ok && !primaries {
				out[i]++
			}
		}
	}
	return out
}

func (p *plan) copySecondaries(t *table) {
	low := len(t.parts) / len(p.nodes)
	p.copyAll(t, false, p.counts(t, false), func(least, most int) bool { return most <= low || most-least <= 1 })
}

// copyAll copies from the fullest node to the emptiest until enough; a node that
// has nothing fit to be copied is left out.
func (p *plan) copyAll(t *table, primaries bool, counts []int, enough func(least, most int) bool) {
	order := make([]int, len(counts))
	for i := range order {
		order[i] = i
	}
	held := p.held(t, primaries)
	for len(order) > 1 {
		slices.SortStableFunc(order, func(a, b int) int { return counts[a] - counts[b] })
		least, most := order[0], order[len(order)-1]
		if enough(counts[least], counts[most]) {
			return
		}
		from, to := p.nodes[most], p.nodes[least]
		i := slices.IndexFunc(held[most], func(part *partition) bool { return !p.used[part] && !part.IsMember(to) })
		if i < 0 {
			order = order[:len(order)-1]
			continue
		}
		counts[most]--
		counts[least]++
		p.copy(held[most][i], from, to, primaries)
	}
}

// held are the partitions that each node could give away.
func (p *plan) held(t *table, primaries bool) [][]*partition {
	out := make([][]*partition, len(p.nodes))
	for _, part := range t.parts {
		holders := part.Secondaries
		if primaries {
			holders = []peer.Addr{part.Primary}
		}
		for _, a := range holders {
			if i, ok := p.index[a]; ok {
				out[i] = append(out[i], part)
			}
		}
	}
	return out
}

func (p *plan) copy(part *partition, from, to peer.Addr, primary bool) {
	if primary {
		p.count.copyPri++
		p.add(part, action{target: from, node: to, kind: peer.AddSecondaryForLB}, action{target: from, node: from, kind: peer.DowngradeToSecondary},
			action{target: to, node: to, kind: peer.UpgradeToPrimary}, action{target: to, node: from, kind: peer.Remove})
		return
	}
	p.count.copySec++
	p.add(part, action{target: part.Primary, node: to, kind: peer.AddSecondaryForLB}, action{target: part.Primary, node: from, kind: peer.Remove})
}

// graph has an edge from each node to each that has secondaries of its
// primaries, as wide as there are of them; source is who has too many primaries,
// sink who has too few.
type graph struct {
	edges        [][]int
	source, sink []int
}

func newGraph(p *plan, t *table, counts []int, low int, noneBelow bool) *graph {
	n := len(counts)
	g := &graph{edges: make([][]int, n), source: make([]int, n), sink: make([]int, n)}
	for i := range g.edges {
		g.edges[i] = make([]int, n)
		g.source[i], g.sink[i] = max(0, counts[i]-low), max(0, low-counts[i])
		if noneBelow && g.source[i] > 0 { // 4, 2 and 2 are not even, though nobody has too few
			g.source[i]--
		} else if noneBelow {
			g.sink[i]++
		}
	}
	for _, part := range t.parts {
		from, ok := p.index[part.Primary]
		for _, a := range part.Secondaries {
			if to, there := p.index[a]; ok && there {
				g.edges[from][to]++
			}
		}
	}
	return g
}

// widest is the path from source to sink that takes the most, and how much.
func (g *graph) widest() (path []int, flow int) {
	n := len(g.source)
	width, before, seen := slices.Clone(g.source), make([]int, n), make([]bool, n)
	for i := range before {
		before[i] = -1
	}
	end := -1
	for {
		at := -1
		for i := range width {
			if !seen[i] && width[i] > 0 && (at < 0 || width[i] > width[at]) {
				at = i
			}
		}
		if at < 0 || width[at] <= flow {
			break
		}
		seen[at] = true
		if w := min(width[at], g.sink[at]); w > flow {
			end, flow = at, w
		}
		for i := range width {
			if w := min(width[at], g.edges[at][i]); !seen[i] && w > width[i] {
				width[i], before[i] = w, at
			}
		}
	}
	for at := end; at >= 0; at = before[at] {
		path = append(path, at)
	}
	slices.Reverse(path)
	return path, flow
}
