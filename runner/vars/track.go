package vars

import (
	"io"
	"sync"
)

// Uses collects the variables that a scope looks up, as they are written in users' files. The zero Uses is
// ready; it may be used from several goroutines.
type Uses struct {
	mu    sync.Mutex // guards found
	found map[string]Value
}

// Track gives a scope that tells u of every variable that is looked up in it, or in those made of it, and that
// stands in a file: not of facts, results and what else came about in the run. What is reached through hostvars
// is not told. A nil u gives the scope itself.
func (s *Scope) Track(u *Uses) *Scope {
	if u == nil {
		return s
	}
	return &Scope{world: s.world, layers: s.layers, watch: s.watch, steady: s.steady, tracked: u}
}

func (u *Uses) add(name string, v Value) {
	if u == nil || v.n == nil || v.n.at.File == "" {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.found == nil {
		u.found = map[string]Value{}
	}
	u.found[name] = v
}

// All are the variables found, by name.
func (u *Uses) All() map[string]Value {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.found
}

// Digest writes what makes the value what it is, for a hash: its text or data, not where it stands.
func (v Value) Digest(w io.Writer) {
	switch {
	case v.n == nil:
		digest(w, "-", "")
	case v.n.sealed != nil:
		digest(w, "sealed", v.n.sealed.text)
	case v.n.prog != nil:
		digest(w, "template", v.n.raw)
	case v.n.static:
		digest(w, "data", string(Data{v.n.data}.Exact()))
	case v.n.kind == kindList:
		digest(w, "list", "")
		for _, item := range v.n.items {
			item.Digest(w)
		}
		digest(w, "end", "")
	default:
		digest(w, "mapping", "")
		for _, f := range v.n.fields {
			digest(w, "key", f.Name)
			f.Value.Digest(w)
		}
		digest(w, "end", "")
	}
}

// Digest is that of a Value.
func (e Expr) Digest(w io.Writer) { e.v.Digest(w) }

// digest writes a word so that no two sequences of words come to the same bytes. A hash does not fail.
func digest(w io.Writer, kind, text string) {
	io.WriteString(w, kind)        //nolint:errcheck // see above
	w.Write([]byte{0})             //nolint:errcheck
	io.WriteString(w, quote(text)) //nolint:errcheck
	w.Write([]byte{0})             //nolint:errcheck
}

func quote(text string) string { return string(appendQuoted(nil, text)) }
