package main

import (
	"bytes"
	"compress/gzip"
	"net"
	"os"
	"path"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/lab/zookeeper/zktest"
	"github.com/pegbook/pegbook/modules/zksession"
)

// registry is processes that are registered in ZooKeeper as their services do it.
type registry struct {
	t    *testing.T
	conn *zk.Conn
}

func newRegistry(t *testing.T, addr string) registry {
	t.Helper()
	conn, closed, err := zksession.Connect(t.Context(), zksession.Options{Dial: new(net.Dialer).DialContext, Servers: []string{addr}, Wait: 30 * time.Second})
	require.NoError(t, err)
	t.Cleanup(closed)
	return registry{t, conn}
}

// register makes an ephemeral node, and the folders above it. flags are added.
func (r registry) register(node string, data []byte, flags int32) string {
	r.t.Helper()
	var above []string
	for dir := path.Dir(node); dir != "/"; dir = path.Dir(dir) {
		above = append([]string{dir}, above...)
	}
	for _, dir := range above {
		if _, err := r.conn.Create(dir, nil, 0, zk.WorldACL(zk.PermAll)); err != nil {
			require.ErrorIs(r.t, err, zk.ErrNodeExists)
		}
	}
	made, err := r.conn.Create(node, data, zk.FlagEphemeral|flags, zk.WorldACL(zk.PermAll))
	require.NoError(r.t, err)
	return made
}

// druid registers a process as Druid 31 does: its name says host and port, its data is compressed JSON.
func (r registry) druid(role, host, port string) {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, err := w.Write([]byte(`{"druidNode":{"service":"druid/` + role + `","host":"` + host + `","bindOnHost":false,"plaintextPort":` + port +
		`,"port":-1,"tlsPort":-1,"enablePlaintextPort":true,"enableTlsPort":false},"nodeType":"` + role + `","services":{}}`))
	require.NoError(r.t, err)
	require.NoError(r.t, w.Close())
	r.register("/druid/internal-discovery/"+role+"/"+host+":"+port, packed.Bytes(), 0)
}

// TestZooKeeperNodes runs what users of the example see, against a real ZooKeeper.
func TestZooKeeperNodes(t *testing.T) {
	if testing.Short() || !zktest.Installed() {
		t.Skip("needs Debian's zookeeper, and starts a JVM")
	}
	addr := zktest.Start(t, "127.0.78.9", 500*time.Millisecond)
	r := newRegistry(t, addr)
	r.druid("COORDINATOR", "master1.example.org", "8081")
	for _, host := range []string{"data2.example.org", "data1.example.org"} {
		r.druid("HISTORICAL", host, "8083")
		r.druid("MIDDLE_MANAGER", host, "8091")
	}
	r.druid("HISTORICAL", "data1.example.org", "8183")
	// Pegasus' meta servers queue for their leader's lock; 2.6 says in the node who it is.
	for _, meta := range []string{"meta1:34601", "meta2:34601"} {
		r.register("/pegasus/c1/lock/dsn.meta.server.leader/LOCKNODE", []byte(meta), zk.FlagSequence)
	}
	r.register("/odd/process", []byte("no address"), 0)
	examples := buildExamples(t, "zookeeper_nodes")
	late := func(ts *testscript.TestScript, _ bool, args []string) { r.druid(args[0], args[1], args[2]) }
	testscript.Run(t, testscript.Params{
		Dir:  filepath.Join("testdata", "zookeeper"),
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){"druid": late},
		Setup: func(env *testscript.Env) error {
			env.Setenv("PEGBOOK_HOME", filepath.Join(env.WorkDir, ".pegbook"))
			env.Setenv("NO_COLOR", "1")
			env.Setenv("PATH", os.Getenv("PATH"))
			env.Setenv("EXAMPLES", examples)
			env.Setenv("ZOOKEEPER", addr)
			return nil
		},
	})
}
