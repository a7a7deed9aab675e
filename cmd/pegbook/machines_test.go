package main

import "testing"

// TestMachines runs pegbook against hosts with a real systemd, OpenSSH and ZooKeeper: what the lab's
// simulated hosts cannot show. The machines are shared, because starting them takes longer than most of
// what is tried on them.
func TestMachines(t *testing.T) {
	s := startSite(t, 4)
	t.Run("pegasus", s.testPegasus)
	t.Run("modules", s.testModules)
	t.Run("files", s.testFiles)
	t.Run("raw with passwords", s.testRawPasswords)
	t.Run("jobs", s.testJobs)
	t.Run("logins", s.testLogins)
	t.Run("faults", s.testFaults)
}
