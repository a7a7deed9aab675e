package machines

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMachinesComeUpAndLeaveNothing(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("machines need root (network namespaces, overlay mounts): run the tests as root")
	}
	dir := filepath.Join("/var/tmp", "pegbook-machines-test")
	m, err := Start(t.Context(), Options{Dir: dir, Count: 2, Net: 250})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Stop()) })

	_, err = Start(t.Context(), Options{Dir: dir, Count: 1, Net: 250})
	require.ErrorIs(t, err, ErrInUse)
	for _, machine := range m.List {
		out, err := exec.Command("ssh", "-i", m.KeyFile, "-o", "UserKnownHostsFile="+m.KnownHosts, "-o", "StrictHostKeyChecking=yes",
			"root@"+machine.Address, "cat /proc/1/comm; hostname").Output()
		require.NoError(t, err)
		require.Equal(t, "systemd\n"+machine.Name+"\n", string(out))
	}
	require.NoError(t, m.Cut(t.Context(), m.List[0], true))
	out, err := m.Run(t.Context(), m.List[0], "sh", "-c", "cat /proc/1/comm; hostname")
	require.NoError(t, err)
	require.Equal(t, "systemd\n"+m.List[0].Name+"\n", out)
	sshds, err := m.Processes(m.List[0], "/usr/sbin/sshd")
	require.NoError(t, err)
	require.Len(t, sshds, 1, "and not that of the other machine")
	require.False(t, Reachable(m.List[0].Address, 22))
	require.True(t, Reachable(m.List[1].Address, 22))

	// Units of one name on two machines are two units.
	for _, machine := range m.List {
		_, err := m.Run(t.Context(), machine, "systemd-run", "--quiet", "--unit=same", "sleep", "86000")
		require.NoError(t, err)
	}
	_, err = m.Run(t.Context(), m.List[0], "systemctl", "stop", "same")
	require.NoError(t, err)
	state, err := m.Run(t.Context(), m.List[1], "systemctl", "status", "--no-pager", "same")
	require.NoError(t, err, state)
	require.Contains(t, state, "sleep 86000")

	require.NoError(t, m.Stop())
	require.NoDirExists(t, dir)
	left, err := exec.Command("ip", "netns", "list").Output()
	require.NoError(t, err)
	require.NotContains(t, string(left), m.List[0].netns)
}
