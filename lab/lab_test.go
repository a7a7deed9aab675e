package lab

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write inventories/lab.yml anew")

// TestMain is also the background process: Up starts this program once more.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "serve" {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		if err := Serve(ctx, os.Args[2], os.NewFile(ReadyFD, "ready")); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// options are a small lab on addresses and in a folder of the test's own.
func options(t *testing.T) Options {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	sleep, err := exec.LookPath("sleep")
	require.NoError(t, err)
	o := Options{
		Dir: filepath.Join(t.TempDir(), "lab"), Metas: 1, Replicas: 2, Collectors: -1, Address: "127.0.50.100",
		SSHPort: freePort(t), ZooKeeperPort: freePort(t), PegasusServer: sleep, Server: []string{exe, "serve"},
	}
	t.Cleanup(func() { require.NoError(t, Down(context.Background(), o.Dir)) })
	return o
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.50.100:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// ssh runs a command on a host of the lab, with the files that it wrote for that.
func ssh(t *testing.T, s *State, host int, command string) string {
	t.Helper()
	ip, port, _ := net.SplitHostPort(s.Hosts[host].SSH)
	out, err := exec.Command("ssh", "-F", "none", "-i", s.Key, "-o", "UserKnownHostsFile="+s.KnownHosts, "-o", "StrictHostKeyChecking=yes",
		"-o", "BatchMode=yes", "-p", port, ip, command).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return string(out)
}

func TestUpStatusDown(t *testing.T) {
	o := options(t)
	began := time.Now()
	s, err := Up(t.Context(), o)
	require.NoError(t, err)
	require.Less(t, time.Since(began), 10*time.Second, "it takes 0.3 s on an idle machine")
	require.False(t, s.AlreadyUp)
	require.Equal(t, []string{"meta1 127.0.50.101", "replica1 127.0.50.102", "replica2 127.0.50.103"}, hostNames(s))
	for i, h := range s.Hosts {
		require.Equal(t, h.Home+" "+h.Name+" "+h.IP+" 0.1\n", ssh(t, s, i, "echo $HOME $PEGBOOK_LAB_HOST $PEGASUS_SIM_ADDRESS $PEGASUS_SIM_SCALE"))
	}

	// A server as a playbook starts it, from an unpacked package, and a daemon without our environment.
	bin := s.Hosts[1].Home + "/" + strings.TrimSuffix(filepath.Base(s.Packages[1].File), ".tar.gz") + "/bin"
	pid := ssh(t, s, 1, "tar xzf "+s.Packages[1].File+" && cd "+bin+" && { setsid ./pegasus_server 1000 >/dev/null 2>&1 </dev/null & echo $!; }")
	bare := ssh(t, s, 2, "{ env -i /usr/bin/setsid /bin/sleep 1000 >/dev/null 2>&1 </dev/null & echo $!; }")

	again, err := Up(t.Context(), o)
	require.NoError(t, err)
	require.True(t, again.AlreadyUp)
	again.AlreadyUp = false
	require.Equal(t, s, again)
	other := o
	other.Replicas = 1
	_, err = Up(t.Context(), other)
	require.ErrorContains(t, err, "pegbook lab down first")

	r, err := Status(t.Context(), o.Dir)
	require.NoError(t, err)
	require.True(t, r.Up)
	require.Positive(t, r.PID)
	require.Equal(t, "standalone", r.ZooKeeper)
	require.Empty(t, r.Strays)
	for i, h := range r.Hosts {
		require.True(t, h.Answers, h.Name)
		require.Len(t, h.Processes, []int{0, 1, 1}[i])
	}
	found := r.Hosts[1].Processes[0]
	require.Equal(t, strings.TrimSpace(pid), strconv.Itoa(found.PID))
	require.Equal(t, "2.5.0", found.Version)
	require.Less(t, found.Uptime, time.Minute)

	require.NoError(t, Down(t.Context(), o.Dir))
	require.NoDirExists(t, o.Dir)
	for _, p := range []string{pid, bare, strconv.Itoa(r.PID)} {
		n, err := strconv.Atoi(strings.TrimSpace(p))
		require.NoError(t, err)
		_, err = readStat(n)
		require.ErrorIs(t, err, errGone)
	}
	require.NoError(t, Down(t.Context(), o.Dir), "down twice")
	_, err = Status(t.Context(), o.Dir)
	require.ErrorIs(t, err, ErrNoLab)
}

func hostNames(s *State) []string {
	var list []string
	for _, h := range s.Hosts {
		list = append(list, h.Name+" "+h.IP)
	}
	return list
}

// TestUpAfterCrash kills the lab's process; what was on the hosts and in ZooKeeper is there again.
func TestUpAfterCrash(t *testing.T) {
	o := options(t)
	s, err := Up(t.Context(), o)
	require.NoError(t, err)
	c, _, err := zk.Connect([]string{s.ZooKeeper}, time.Second, zk.WithLogger(quiet{}))
	require.NoError(t, err)
	defer c.Close()
	require.Eventually(t, func() bool {
		_, err := c.Create("/kept", nil, 0, zk.WorldACL(zk.PermAll))
		return err == nil
	}, 5*time.Second, 20*time.Millisecond)
	ssh(t, s, 0, "echo kept > file")
	daemon, err := strconv.Atoi(strings.TrimSpace(ssh(t, s, 0, "{ setsid sleep 1000 >/dev/null 2>&1 </dev/null & echo $!; }")))
	require.NoError(t, err)
	time.Sleep(2 * time.Second) // a snapshot is written within a second or two
	first, up := server(s.Dir)
	require.True(t, up)
	require.NoError(t, first.signal(syscall.SIGKILL))
	require.Eventually(t, func() bool { return !first.alive() }, 5*time.Second, 5*time.Millisecond)

	s, err = Up(t.Context(), o)
	require.NoError(t, err)
	require.False(t, s.AlreadyUp)
	require.Equal(t, "kept\n", ssh(t, s, 0, "cat file"), "same host key, same files")
	_, err = readStat(daemon)
	require.NoError(t, err, "the daemon is still there")
	require.Eventually(t, func() bool {
		ok, _, err := c.Exists("/kept")
		return err == nil && ok
	}, 10*time.Second, 50*time.Millisecond)
}

type quiet struct{}

func (quiet) Printf(string, ...any) {}

func TestUpRefuses(t *testing.T) {
	t.Run("a port in use", func(t *testing.T) {
		o := options(t)
		taken, err := net.Listen("tcp", fmt.Sprintf("127.0.50.102:%d", o.SSHPort))
		require.NoError(t, err)
		defer taken.Close()
		_, err = Up(t.Context(), o)
		require.ErrorContains(t, err, fmt.Sprintf("another program listens on 127.0.50.102:%d", o.SSHPort))
		_, up := server(o.Dir)
		require.False(t, up)
		taken.Close()
		_, err = Up(t.Context(), o)
		require.NoError(t, err, "once it is free")
	})
	t.Run("a folder with something else", func(t *testing.T) {
		o := options(t)
		o.Dir = t.TempDir()
		file := filepath.Join(o.Dir, "thesis.txt")
		require.NoError(t, os.WriteFile(file, nil, 0o600))
		_, err := Up(t.Context(), o)
		require.ErrorContains(t, err, "holds thesis.txt and is no lab")
		require.ErrorContains(t, Down(t.Context(), o.Dir), "is no lab: nothing is removed")
		require.FileExists(t, file)
	})
	t.Run("an address that is not loopback", func(t *testing.T) {
		o := options(t)
		o.Address = "10.0.0.1"
		_, err := Up(t.Context(), o)
		require.ErrorContains(t, err, "give a loopback address")
	})
	t.Run("a server that ends at once", func(t *testing.T) {
		o := options(t)
		o.Server = []string{"/bin/false"}
		_, err := Up(t.Context(), o)
		require.ErrorContains(t, err, "ended at once")
	})
}

func TestManyUpsAtOnceMakeOneLab(t *testing.T) {
	o := options(t)
	type result struct {
		s   *State
		err error
	}
	results := make(chan result)
	for range 4 {
		go func() {
			s, err := Up(context.Background(), o)
			results <- result{s, err}
		}()
	}
	started := 0
	for range 4 {
		r := <-results
		require.NoError(t, r.err)
		if !r.s.AlreadyUp {
			started++
		}
	}
	require.Equal(t, 1, started)
}

func TestDownRemovesWhatMayNotBeWritten(t *testing.T) {
	o := options(t)
	s, err := Up(t.Context(), o)
	require.NoError(t, err)
	ssh(t, s, 0, "mkdir -p a/b && echo x > a/b/c && chmod 0500 a/b && chmod 0 a")
	require.NoError(t, Down(t.Context(), o.Dir))
	require.NoDirExists(t, o.Dir)
}

// TestPackages looks into the packages: laid out as real ones, told by their checksums, made once.
func TestPackages(t *testing.T) {
	dir, server := t.TempDir(), filepath.Join(t.TempDir(), "server")
	require.NoError(t, os.WriteFile(server, []byte("program one"), 0o755))
	list, err := pack(dir, server)
	require.NoError(t, err)
	require.Len(t, list, 2)
	top := "pegasus-server-2.5.0-0000000-glibc2.36-release/"
	files := untar(t, list[1].File)
	require.Equal(t, "Pegasus Server 2.5.0 (0000000) glibc2.36 release\n", files[top+"VERSION"])
	require.Equal(t, "program one", files[top+"bin/pegasus_server"])
	require.Contains(t, files, top+"bin/libdsn_replica_server.so")
	require.Contains(t, files[top+"bin/config.ini"], "%{cluster.name}")
	sum, err := exec.Command("sha256sum", list[1].File).Output()
	require.NoError(t, err)
	require.Equal(t, list[1].SHA256, strings.Fields(string(sum))[0])

	before, err := os.Stat(list[0].File)
	require.NoError(t, err)
	again, err := pack(dir, server)
	require.NoError(t, err)
	require.Equal(t, list, again)
	after, err := os.Stat(list[0].File)
	require.NoError(t, err)
	require.True(t, os.SameFile(before, after), "a package that is there is kept")

	require.NoError(t, os.WriteFile(server, []byte("program two"), 0o755))
	newer, err := pack(dir, server)
	require.NoError(t, err)
	require.NotEqual(t, list[0].SHA256, newer[0].SHA256, "another program, another package")
	some, err := pack(dir, server, "2.0.0")
	require.NoError(t, err)
	require.Equal(t, "2.0.0", some[0].Version)
	require.Equal(t, "Pegasus Server 2.0.0 (0000000) glibc2.36 release\n", untar(t, some[0].File)["pegasus-server-2.0.0-0000000-glibc2.36-release/VERSION"])
}

func untar(t *testing.T, file string) map[string]string {
	t.Helper()
	f, err := os.Open(file)
	require.NoError(t, err)
	defer f.Close()
	zip, err := gzip.NewReader(f)
	require.NoError(t, err)
	files := map[string]string{}
	for r := tar.NewReader(zip); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		require.NoError(t, err)
		content, err := io.ReadAll(r)
		require.NoError(t, err)
		files[h.Name] = string(content)
	}
}

// TestInventory keeps inventories/lab.yml what a lab with the defaults writes.
func TestInventory(t *testing.T) {
	o, err := Options{Dir: "/somewhere"}.withDefaults()
	require.NoError(t, err)
	s, err := layout(o)
	require.NoError(t, err)
	want, err := inventory(s, sitePath)
	require.NoError(t, err)
	file := filepath.Join("..", "inventories", "lab.yml")
	if *update {
		require.NoError(t, os.WriteFile(file, want, 0o644))
	}
	have, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), string(have), "edit lab/inventory.tmpl, then go test ./lab -run TestInventory -update")
}

// sitePath is how inventories/lab.yml finds the folder of a lab that stands in its default place.
const sitePath = `{{ coalesce (lookup_env "PEGBOOK_LAB_HOME") (printf "%s/.pegbook/lab" (lookup_env "HOME")) }}`

func TestFaultsReachTheHostsTheyAreFor(t *testing.T) {
	dir := t.TempDir()
	s, err := layout(Options{Dir: dir, Metas: 1, Replicas: 2, Address: "127.0.61.10", SSHPort: 1, ZooKeeperPort: 2})
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "hosts"), 0o700))
	require.NoError(t, s.write())
	require.NoError(t, Fault(dir, []string{"replica2"}, []string{"hung", "load_ms=5"}))
	raw, err := os.ReadFile(filepath.Join(dir, "hosts/replica2.faults"))
	require.NoError(t, err)
	require.Equal(t, "hung\nload_ms=5\n", string(raw))
	require.NoFileExists(t, filepath.Join(dir, "hosts/replica1.faults"))
	require.ErrorContains(t, Fault(dir, nil, []string{"hang"}), `no setting "hang"`)
	require.ErrorContains(t, Fault(dir, []string{"replica3"}, nil), "no host replica3")
	require.NoError(t, Fault(dir, nil, nil))
	require.NoFileExists(t, filepath.Join(dir, "hosts/replica2.faults"))
	require.ErrorIs(t, Fault(t.TempDir(), nil, nil), ErrNoLab)
}

// TestHostsMisbehave has a host refuse SSH, and ZooKeeper go away and end a session, while the lab runs.
func TestHostsMisbehave(t *testing.T) {
	o := options(t)
	s, err := Up(t.Context(), o)
	require.NoError(t, err)
	reaches := func() bool {
		conn, err := net.Dial("tcp", s.Hosts[1].SSH)
		if err != nil {
			return false
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(500 * time.Millisecond))
		hello := make([]byte, 4)
		_, err = io.ReadFull(conn, hello)
		return err == nil && string(hello) == "SSH-"
	}
	require.True(t, reaches())
	for _, setting := range []string{"ssh_refused", "ssh_hangs"} {
		require.NoError(t, Fault(o.Dir, []string{"replica1"}, []string{setting}))
		require.Eventually(t, func() bool { return !reaches() }, 10*time.Second, 50*time.Millisecond, setting)
		require.Contains(t, ssh(t, s, 2, "echo well"), "well")
		require.NoError(t, Fault(o.Dir, nil, nil))
		require.Eventually(t, reaches, 10*time.Second, 50*time.Millisecond, setting)
	}
	require.ErrorContains(t, Fault(o.Dir, []string{"replica1"}, []string{"ssh_delay_ms=much"}), "give milliseconds")
	require.ErrorContains(t, Fault(o.Dir, []string{"replica1", ZooKeeperHost}, []string{"down"}), "name it alone")
	require.ErrorContains(t, Fault(o.Dir, []string{ZooKeeperHost}, []string{"hung"}), `no fault "hung"`)

	c, events, err := zk.Connect([]string{s.ZooKeeper}, time.Second, zk.WithLogInfo(false))
	require.NoError(t, err)
	defer c.Close()
	await(t, events, zk.StateHasSession)
	_, err = c.Create("/mine", nil, zk.FlagEphemeral, zk.WorldACL(zk.PermAll))
	require.NoError(t, err)
	require.NoError(t, Fault(o.Dir, []string{ZooKeeperHost}, []string{"down"}))
	await(t, events, zk.StateDisconnected)
	time.Sleep(1500 * time.Millisecond) // longer than the session lasts without a word
	require.NoError(t, Fault(o.Dir, []string{ZooKeeperHost}, nil))
	await(t, events, zk.StateHasSession)
	there, _, err := c.Exists("/mine")
	require.NoError(t, err)
	require.True(t, there, "no session ends while ZooKeeper is down")
	require.NoError(t, Fault(o.Dir, []string{ZooKeeperHost}, []string{"expire=/mine"}))
	await(t, events, zk.StateExpired)
}

func await(t *testing.T, events <-chan zk.Event, state zk.State) {
	t.Helper()
	deadline := time.After(15 * time.Second)
	for {
		select {
		case e := <-events:
			if e.State == state {
				return
			}
		case <-deadline:
			t.Fatalf("the session does not become %s", state)
		}
	}
}
