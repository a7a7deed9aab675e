package plugins

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/connect"
)

// TestPluginsAreRefusedByAHostThatKnowsANewerHolder: what a plugin's module asks of its host is done under the locks of
// the run, so it is refused as a built-in module's is once another run has taken over.
func TestPluginsAreRefusedByAHostThatKnowsANewerHolder(t *testing.T) {
	base, dir := t.TempDir(), t.TempDir()
	pool := connect.NewPool(connect.Options{})
	defer pool.Close()
	opened, err := pool.Open(t.Context(), connect.Address{Name: "h1", Connection: "local", TempDir: base}, connect.Become{})
	require.NoError(t, err)
	under := func(token uint64) connect.Fenced {
		return opened.(connect.Fenced).Under(connect.Fence{Key: "zookeeper:/pegbook/locks/c1", Token: token, Holder: fmt.Sprintf("run %d", token)})
	}
	touch := func(name string) modules.Command {
		return modules.Command{Argv: []string{"touch", filepath.Join(dir, name)}}
	}
	changes := map[string]func(ctx context.Context, host modules.Host, jobs modules.Jobs) error{
		"apply": func(ctx context.Context, host modules.Host, _ modules.Jobs) error {
			return host.Apply(ctx, modules.Change{Kind: modules.Touch, Path: filepath.Join(dir, "apply")})
		},
		"run": func(ctx context.Context, host modules.Host, _ modules.Jobs) error {
			_, err := host.Run(ctx, touch("run"))
			return err
		},
		"job": func(ctx context.Context, _ modules.Host, jobs modules.Jobs) error {
			_, err := jobs.StartJob(ctx, modules.Job{ID: "fenced-job", Limit: time.Minute, Command: touch("job")})
			return err
		},
	}
	require.NoError(t, under(5).Allowed(t.Context()))
	for name, change := range changes {
		m := behind(t, func(_ context.Context, call *modules.Call, _ noArgs) (*modules.Proposal, error) {
			return &modules.Proposal{Diff: []modules.Diff{{Subject: name}}, Do: func(ctx context.Context, host modules.Host) error {
				if err := change(ctx, host, call.Jobs); err != nil {
					return fmt.Errorf("it was not to be: %w", err)
				}
				return nil
			}}, nil
		})
		host := under(5)
		p, err := m.Propose(t.Context(), &modules.Call{Host: host, Jobs: host.(modules.Jobs)}, nil)
		require.NoError(t, err, name)
		require.NoError(t, under(6).Allowed(t.Context()), "another run takes over while the task is under way")
		var old *connect.FencedError
		require.ErrorAs(t, p.Do(t.Context(), host), &old, name)
		require.Equal(t, connect.FencedError{Host: "h1", Key: "zookeeper:/pegbook/locks/c1", Newer: 6, Holder: "run 6"}, *old, name)
	}
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)

	// What changes files only is done by pegbook itself, under the same locks; and looking is free.
	host := under(5)
	p, err := behind(t, func(ctx context.Context, call *modules.Call, _ noArgs) (*modules.Proposal, error) {
		if _, err := call.Host.Look(ctx, modules.Query{Path: dir}); err != nil {
			return nil, err
		}
		p := &modules.Proposal{}
		p.Change(modules.Change{Kind: modules.Touch, Path: filepath.Join(dir, "change")})
		return p, nil
	}).Propose(t.Context(), &modules.Call{Host: host}, nil)
	require.NoError(t, err)
	var old *connect.FencedError
	require.ErrorAs(t, p.Do(t.Context(), host), &old)

	// The run that took over goes on.
	host = under(6)
	p, err = behind(t, func(context.Context, *modules.Call, noArgs) (*modules.Proposal, error) {
		return &modules.Proposal{Do: func(ctx context.Context, host modules.Host) error {
			_, err := host.Run(ctx, touch("six"))
			return err
		}}, nil
	}).Propose(t.Context(), &modules.Call{Host: host}, nil)
	require.NoError(t, err)
	require.NoError(t, p.Do(t.Context(), host))
	left, err = os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 1)
	require.Equal(t, "six", left[0].Name())
}
