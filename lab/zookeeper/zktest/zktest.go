// Package zktest starts a real ZooKeeper, Debian's, for tests.
package zktest

import (
	"errors"
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
	if !Installed() {
		t.Skip("Debian's zookeeper is not installed")
	}
	addr, stop, err := Run(t.TempDir(), ip, tick)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return addr
}

const jar = "/usr/share/java/zookeeper.jar"

// Installed says whether there is one to start.
func Installed() bool {
	_, err := os.Stat(jar)
	return err == nil
}

// Run starts a ZooKeeper that keeps its data in dir, until stop is called.
func Run(dir, ip string, tick time.Duration) (addr string, stop func(), err error) {
	if addr, err = freePort(ip); err != nil {
		return "", nil, err
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", nil, err
	}
	config := filepath.Join(dir, "zoo.cfg")
	text := fmt.Appendf(nil, "tickTime=%d\ndataDir=%s/data\nclientPort=%s\nclientPortAddress=%s\nadmin.enableServer=false\nmaxClientCnxns=0\n4lw.commands.whitelist=*\n",
		tick.Milliseconds(), dir, port, ip)
	if err := os.WriteFile(config, text, 0o600); err != nil {
		return "", nil, err
	}
	cmd := exec.Command("java", "-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dzookeeper.jmx.log4j.disable=true",
		"-cp", jar, "org.apache.zookeeper.server.ZooKeeperServerMain", config)
	cmd.Dir = dir
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	for deadline := time.Now().Add(time.Minute); !serves(addr); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			stop()
			return "", nil, errors.New("ZooKeeper does not come up")
		}
	}
	return addr, stop, nil
}

func freePort(ip string) (string, error) {
	l, err := net.Listen("tcp", ip+":0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
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
