package lab

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/lab/traffic"
)

// deploy does by hand, over SSH, what playbooks/deploy.yml does: unpack, fill the template in, start.
func deploy(t *testing.T, s *State) []string {
	t.Helper()
	var metas []string
	for _, h := range s.Hosts {
		if h.Group == "meta_server" {
			metas = append(metas, h.IP+":34601")
		}
	}
	for i, h := range s.Hosts {
		role := strings.TrimSuffix(h.Group, "_server")
		bin := "pkg/" + strings.TrimSuffix(filepath.Base(s.Packages[0].File), ".tar.gz") + "/bin"
		values := map[string]string{
			"cluster.name": "lab", "home.dir": h.Home, "app.dir": h.Home + "/app", "slog.dir": "", "data.dirs": "ssd1:" + h.Home + "/ssd1",
			"meta.server.list": strings.Join(metas, ","), "zk.server.list": s.ZooKeeper,
		}
		script := "set -e; mkdir -p pkg; tar xzf " + s.Packages[0].File + " -C pkg; cd " + bin + "; sed -i"
		for marker, value := range values {
			script += fmt.Sprintf(` -e 's|%%{%s}|%s|g'`, marker, value)
		}
		script += " config.ini; export LD_LIBRARY_PATH=$PWD; setsid ./pegasus_server config.ini -app_list " + role + " >result 2>&1 </dev/null &"
		ssh(t, s, i, script)
	}
	return metas
}

// TestSimulatedClusterUnderLoad brings a whole cluster up on the lab's hosts and kills one of its replica
// servers under load: operations stall and none of what was acknowledged is lost.
func TestSimulatedClusterUnderLoad(t *testing.T) {
	o := options(t)
	o.Metas, o.Replicas, o.Collectors, o.Scale = 2, 4, 1, 0.05
	o.Address = "127.0.50.120"
	o.PegasusServer = filepath.Join(t.TempDir(), "pegasus_server")
	out, err := exec.Command("go", "build", "-o", o.PegasusServer, "./cmd/pegasus_server").CombinedOutput()
	require.NoError(t, err, "%s", out)
	s, err := Up(t.Context(), o)
	require.NoError(t, err)
	metas := deploy(t, s)
	healthy := func() bool {
		r, err := Status(t.Context(), o.Dir)
		require.NoError(t, err)
		return r.Cluster != nil && len(r.Cluster.Missing) == 0
	}
	require.Eventually(t, healthy, 40*time.Second, 200*time.Millisecond)
	r, err := Status(t.Context(), o.Dir)
	require.NoError(t, err)
	require.Equal(t, 4, r.Cluster.Alive)
	require.Equal(t, []string{"meta", "meta", "replica", "replica", "replica", "replica", "collector"}, roleOfEach(r))

	load, err := traffic.Start(t.Context(), traffic.Options{Metas: metas})
	require.NoError(t, err)
	time.Sleep(time.Second)
	calm := load.Summary()
	require.Zero(t, calm.Failures)
	require.Greater(t, calm.Operations, 100)
	require.Less(t, calm.LongestStallMS, 1000.0)
	ssh(t, s, 2, fmt.Sprintf("kill -9 %d", r.Hosts[2].Processes[0].PID))
	time.Sleep(3 * time.Second)
	hit := load.Stop(t.Context())
	t.Log(hit)
	require.Greater(t, hit.LongestStallMS, 200.0, "the partitions whose primary died wait for the grace period")
	require.Zero(t, hit.LostWrites)
	require.Zero(t, hit.Failures, "the grace period is 1.1 s at this scale, and an operation has 5 s")
	r, err = Status(t.Context(), o.Dir)
	require.NoError(t, err)
	require.Equal(t, 3, r.Cluster.Alive)
	require.NotEmpty(t, r.Cluster.Missing)
	_, err = traffic.Start(t.Context(), traffic.Options{Metas: metas, Table: "none"})
	require.ErrorContains(t, err, "table none")
}

func roleOfEach(r *Report) []string {
	var list []string
	for _, h := range r.Hosts {
		for _, p := range h.Processes {
			list = append(list, p.Role)
		}
	}
	return list
}
