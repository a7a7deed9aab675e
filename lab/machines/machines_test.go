package machines

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMachinesComeUpAndLeaveNothing(t *testing.T) {
	dir := filepath.Join("/var/tmp", "pegbook-machines-test")
	m, err := Start(t.Context(), Options{Dir: dir, Count: 2, Net: 250})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Stop()) })

	for _, machine := range m.List {
		out, err := exec.Command("ssh", "-i", m.KeyFile, "-o", "UserKnownHostsFile="+m.KnownHosts, "-o", "StrictHostKeyChecking=yes",
			"root@"+machine.Address, "cat /proc/1/comm; hostname").Output()
		require.NoError(t, err)
		require.Equal(t, "systemd\n"+machine.Name+"\n", string(out))
	}
	require.NoError(t, m.Cut(t.Context(), m.List[0], true))
	require.False(t, Reachable(m.List[0].Address, 22))
	require.True(t, Reachable(m.List[1].Address, 22))

	require.NoError(t, m.Stop())
	require.NoDirExists(t, dir)
	out, err := exec.Command("ip", "netns", "list").Output()
	require.NoError(t, err)
	require.NotContains(t, string(out), m.List[0].netns)
}
