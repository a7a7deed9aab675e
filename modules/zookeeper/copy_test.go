package zookeeper

import (
	"testing"

	"github.com/go-zookeeper/zk"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/modules/modtest"
)

func TestCopy(t *testing.T) {
	from, to := server(t), server(t)
	source, target := session(t, from), session(t, to)
	make := func(conn *zk.Conn, path, value string) {
		require.NoError(t, put(conn, path, &value))
	}
	make(source, "/pegasus/a/apps", "unlock")
	make(source, "/pegasus/a/apps/1", "table")
	make(source, "/pegasus/a/apps/1/0", "partition")
	make(source, "/pegasus/a/lock", "")
	make(source, "/pegasus/b", "of others")
	_, err := source.Create("/pegasus/a/lock/LOCKNODE", nil, zk.FlagEphemeral, zk.WorldACL(zk.PermAll))
	require.NoError(t, err)
	refuses := func(args string) error {
		_, err := modtest.Propose(t, copyModule(), args, machine(), anyTrips)
		return err
	}
	args := `{"from": "` + from + `", "to": "` + to + `", "path": "/pegasus/a"`

	r := modtest.Converge(t, copyModule(), args+"}", machine(), anyTrips)
	require.NoError(t, r.Err)
	assert.Equal(t, "5", r.Get("nodes"))
	assert.Equal(t, "5", r.Get("made"))
	all, held, err := contents(target, "/pegasus")
	require.NoError(t, err)
	assert.Empty(t, held, "temporary nodes stay where they are")
	assert.Len(t, all, 6, "and what is not below the node")
	assert.Equal(t, "partition", string(all["/pegasus/a/apps/1/0"]))

	make(source, "/pegasus/a/apps/1/0", "another")
	make(target, "/pegasus/a/apps/2/0", "more than the source has")
	for name, c := range map[string]struct{ args, says string }{
		"what only the target has": {args + "}", "set delete"},
		"to itself":                {`{"from": "` + from + `", "to": "` + from + `", "path": "/pegasus/a"}`, "is not copied to itself"},
		"nothing":                  {`{"from": "` + from + `", "to": "` + to + `", "path": "/pegasus/c"}`, "there is no /pegasus/c"},
		"ZooKeeper's own":          {`{"from": "` + from + `", "to": "` + to + `", "path": "/zookeeper"}`, "ZooKeeper's own"},
	} {
		assert.ErrorContains(t, refuses(c.args), c.says, name)
	}
	r = modtest.Converge(t, copyModule(), args+`, "delete": true}`, machine(), anyTrips)
	require.NoError(t, r.Err)
	assert.Equal(t, "1", r.Get("changed"))
	assert.Equal(t, "2", r.Get("removed"))

	_, err = target.Create("/pegasus/a/lock/LOCKNODE", nil, zk.FlagEphemeral, zk.WorldACL(zk.PermAll))
	require.NoError(t, err)
	assert.ErrorContains(t, refuses(args+"}"), "it is in use")
}
