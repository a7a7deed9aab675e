// Package zktest starts a real ZooKeeper, Debian's, for tests.
package zktest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Start runs a ZooKeeper with ticks of this length until the test ends, and gives its address. The test is skipped
// where the package is not installed.
func Start(t *testing.T, ip string, tick time.Duration) string {
	t.Helper()
	const jar = "/usr/share/java/zookeeper.jar"
	if _, err := os.Stat(jar); err != nil {
		t.Skip("Debian's zookeeper is not installed")
	}
	addr := freePort(t, ip)
	dir := t.TempDir()
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "zoo.cfg")
	text := fmt.Appendf(nil, "tickTime=%d\ndataDir=%s/data\nclientPort=%s\nclientPortAddress=%s\nadmin.enableServer=false\nmaxClientCnxns=0\n4lw.commands.whitelist=*\n",
		tick.Milliseconds(), dir, port, ip)
	if err := os.WriteFile(config, text, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("java", "-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dzookeeper.jmx.log4j.disable=true",
		"-cp", jar, "org.apache.zookeeper.server.ZooKeeperServerMain", config)
	cmd.Dir = dir
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if serves(addr) {
			return addr
		}
		if time.Now().After(deadline) {
			t.Fatal("ZooKeeper does not come up")
		}
	}
}

func freePort(t *testing.T, ip string) string {
	t.Helper()
	l, err := net.Listen("tcp", ip+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func serves(addr string) bool {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	answer := make([]byte, 4)
	_, err = c.Write([]byte("ruok"))
	n, _ := c.Read(answer)
	return err == nil && string(answer[:n]) == "imok"
}
