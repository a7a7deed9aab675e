// Package overlay is a host whose writes stay in memory, above another host. Check mode runs proposals
// against it, so that a later task sees the files and the state that an earlier one would have left.
// Above [Empty] it is an in-memory host for tests.
//
// It never changes the host below. What it cannot know, such as the outcome of a command with effects,
// is modules.ErrUnpredicted; it never guesses. Two things it cannot see: whether the host would refuse
// a change (permissions, a full disk), and files that others change while the run goes on.
//
// # Design
//
// The layer is a flat map from path to node. A path that is not in the map is looked for below, under
// the path that its nearest ancestor in the map stands for: that is how a renamed folder keeps its
// content, and a removed one hides it. Links are followed here and not by the host, because either side
// may hold the next step.
package overlay

import (
	"context"
	"net"
	"path"
	"strings"
	"sync"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/archive"
)

// Shared is state predicted for all hosts of a run: keys that start with "cluster/". The zero value is
// empty. It is safe for concurrent use.
type Shared struct {
	mu       sync.Mutex // guards state and archives
	state    map[string]string
	archives map[string][]archive.Member // by SHA-256: a package is read once a run, not once a host
}

// clusterPrefix starts the keys that belong to all hosts.
const clusterPrefix = "cluster/"

func (s *Shared) predicted(key string) (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	value, ok := s.state[key]
	return value, ok
}

func (s *Shared) predict(key, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == nil {
		s.state = map[string]string{}
	}
	s.state[key] = value
}

// Overlay is the layer above one host. It is safe for concurrent use.
type Overlay struct {
	under  modules.Host
	shared *Shared

	mu    sync.RWMutex // guards layer
	layer layer

	known known

	stateMu sync.Mutex // guards state
	state   map[string]string
}

// New makes an empty layer above a host. shared may be nil.
func New(under modules.Host, shared *Shared) *Overlay {
	if shared == nil {
		shared = &Shared{}
	}
	return &Overlay{under: under, shared: shared, layer: layer{}, state: map[string]string{}}
}

// Look is the host as Propose sees it: files of the layer over the host's, read-only commands run on
// the host, Dial reaches the cluster. Apply and commands that are not ReadOnly are refused with
// ErrUnpredicted: proposing changes nothing.
func (o *Overlay) Look() modules.Host { return o.LookOver(o.under) }

// Act is the host as Do sees it in check mode: Apply writes to the layer; a command with effects and
// Dial are ErrUnpredicted.
func (o *Overlay) Act() modules.Host { return o.ActOver(o.under) }

// LookOver is Look with the host as another user sees it: the layer is shared, what it does not hold is
// read, and run, through under.
func (o *Overlay) LookOver(under modules.Host) modules.Host { return &view{Overlay: o, under: under} }

// ActOver is Act as LookOver is Look.
func (o *Overlay) ActOver(under modules.Host) modules.Host {
	return &view{Overlay: o, under: under, acts: true}
}

// Forget drops what is remembered of the host below, because something has changed there. The layer
// stays.
func (o *Overlay) Forget() { o.known.clear() }

// Predict remembers what a proposal predicts.
func (o *Overlay) Predict(state map[string]string) {
	o.stateMu.Lock()
	defer o.stateMu.Unlock()
	for key, value := range state {
		if strings.HasPrefix(key, clusterPrefix) {
			o.shared.predict(key, value)
			continue
		}
		o.state[key] = value
	}
}

// view is one of an overlay's two faces, over the host as one user sees it.
type view struct {
	*Overlay
	under modules.Host
	acts  bool

	meMu sync.Mutex // guards me
	me   *modules.File
}

var _ modules.Host = (*view)(nil)

func (v *view) Name() string { return v.under.Name() }

func (v *view) Look(ctx context.Context, queries ...modules.Query) ([]modules.File, error) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.look(ctx, queries)
}

func (v *view) Apply(ctx context.Context, changes ...modules.Change) error {
	if !v.acts {
		return modules.ErrUnpredicted
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, change := range changes {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if err := v.apply(ctx, change); err != nil {
			return err
		}
	}
	return nil
}

func (v *view) Run(ctx context.Context, cmd modules.Command) (modules.Output, error) {
	if !cmd.ReadOnly || cmd.Detach {
		return modules.Output{}, modules.ErrUnpredicted
	}
	v.mu.RLock()
	differs, err := v.commandDiffers(ctx, cmd)
	v.mu.RUnlock()
	if err != nil {
		return modules.Output{}, err
	}
	if differs {
		return modules.Output{}, modules.ErrUnpredicted
	}
	return v.under.Run(ctx, cmd)
}

func (v *view) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if v.acts {
		return nil, modules.ErrUnpredicted
	}
	return v.under.Dial(ctx, network, addr)
}

func (v *view) Predicted(key string) (string, bool) {
	if strings.HasPrefix(key, clusterPrefix) {
		return v.shared.predicted(key)
	}
	v.stateMu.Lock()
	defer v.stateMu.Unlock()
	value, ok := v.state[key]
	return value, ok
}

// commandDiffers says whether a command would see other files than the layer promises: its program,
// its folder, or a path among its arguments exists in the layer only, or is different there.
func (v *view) commandDiffers(ctx context.Context, cmd modules.Command) (bool, error) {
	if len(v.layer) == 0 {
		return false, nil
	}
	for _, p := range pathsOf(cmd) {
		place, err := v.resolve(ctx, p, true)
		if err != nil {
			return false, err
		}
		if place.layered || !place.exact() {
			return true, nil
		}
	}
	return false, nil
}

// pathsOf are what may be paths in a command: its folder, its program and its arguments, also behind the equals
// sign of an option. Relative ones count from the folder, where one is given: nobody knows another.
func pathsOf(cmd modules.Command) []string {
	paths := []string{}
	if cmd.Dir != "" {
		paths = append(paths, cmd.Dir)
	}
	for i, arg := range cmd.Argv {
		if option, value, ok := strings.Cut(arg, "="); ok && strings.HasPrefix(option, "-") || strings.HasPrefix(value, "/") {
			arg = value
		}
		switch {
		case strings.HasPrefix(arg, "/"):
			paths = append(paths, arg)
		case cmd.Dir == "", arg == "", strings.HasPrefix(arg, "-"), len(arg) > maxPath:
		case i == 0 && !strings.Contains(arg, "/"): // found on the user's path
		default:
			paths = append(paths, path.Join(cmd.Dir, arg))
		}
	}
	return paths
}

// maxPath is the longest path that Linux takes; a longer argument is a text.
const maxPath = 4096
