package pegasus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/pegbook/pegbook/lab/pegasus/internal/config"
	"github.com/pegbook/pegbook/lab/pegasus/internal/peer"
	"github.com/pegbook/pegbook/lab/pegasus/internal/release"
)

// Environment variables that a host's daemon may set; they beat the config.
const (
	ScaleEnv   = "PEGASUS_SIM_SCALE"
	AddressEnv = "PEGASUS_SIM_ADDRESS"
	// HostEnv is the host name by which a server since 2.6 is known; without it that
	// is its address.
	HostEnv = "PEGASUS_SIM_HOST"
	// FaultsEnv are settings of the simulator, "key=value;key=value", for the whole
	// life of the process.
	FaultsEnv = "PEGASUS_SIM_FAULTS"
	// FaultsFileEnv names the control file, whose settings come and go while the
	// process runs; without it it is "faults" in [core] data_dir.
	FaultsFileEnv = "PEGASUS_SIM_FAULTS_FILE"
)

// Options are one start of the program.
type Options struct {
	Args    []string // without the program's name
	Env     func(string) string
	Out     io.Writer
	Err     io.Writer
	Version Version
	// Signals delivers SIGTERM; nil when nothing will.
	Signals <-chan os.Signal
}

const usage = `invalid options for dsn_run
// run the system with arguments
//   config [-cargs k1=v1;k2=v2] [-app_list app_name1@index1;app_name2@index]
// e.g., config.ini -app_list replica@1 to start the first replica as a new process
//       config.ini -app_list replica to start ALL replicas (count specified in config) as a new process
//       config.ini -app_list replica -cargs replica-port=34556 to start with %replica-port% var in config.ini
//       config.ini to start ALL apps as a new process
dsn exit with code 1
`

// library is what the dynamic loader looks for; the real program is linked to it.
const library = "libdsn_replica_server.so"

// abortCode is how a shell reports SIGABRT, which an assertion of the real
// server raises.
const abortCode = 134

// exit is the reason a process ended.
type exit struct{ code int }

func (e exit) Error() string { return fmt.Sprintf("exit %d", e.code) }

// Run is the life of one process; ctx being done is kill -9. It returns the
// exit code.
func Run(ctx context.Context, o Options) int {
	if !loads(o.Env("LD_LIBRARY_PATH")) {
		fmt.Fprintf(o.Err, "./pegasus_server: error while loading shared libraries: %s: "+
			"cannot open shared object file: No such file or directory\n", library)
		return 127
	}
	for _, a := range o.Args {
		if a == "-v" || a == "-version" || a == "--version" {
			fmt.Fprintln(o.Out, o.Version)
			return 0
		}
	}
	if len(o.Args) == 0 {
		fmt.Fprint(o.Out, usage)
		return 1
	}
	c, err := config.Load(o.Args[0], o.Env(ScaleEnv))
	if err != nil {
		fmt.Fprintf(o.Out, "%s\nFail to load config file %s\nrun the system failed\ndsn exit with code -1\n", err, o.Args[0])
		return 255
	}
	return start(ctx, o, c)
}

func loads(path string) bool {
	for _, dir := range filepath.SplitList(path) {
		if _, err := os.Stat(filepath.Join(dir, library)); err == nil {
			return true
		}
	}
	return false
}

// appList is the role of -app_list, without the @index a one-box gives.
func appList(args []string) string {
	for i, a := range args {
		if a == "-app_list" && i+1 < len(args) {
			role, _, _ := strings.Cut(args[i+1], "@")
			return role
		}
	}
	return ""
}

func start(parent context.Context, o Options, c *config.Config) int {
	ctx, die := context.WithCancelCause(parent)
	defer die(exit{0})
	role := appList(o.Args[1:])
	of := release.Parse(o.Version.Number)
	log := openLog(filepath.Join(c.AppDir, "log"), role, of, o.Out)
	defer log.Close()
	p := &process{Options: o, config: c, role: role, of: of, log: log, start: time.Now(), changes: o.Env(ChangesEnv), life: ctx, die: die,
		open: map[io.Closer]bool{}}
	p.log.Line('I', "service_api_c.cpp:465:run()", "process(%d) start: %d, date: %s",
		os.Getpid(), p.start.UnixMilli(), p.start.Format("2006-01-02 15:04:05.000"))
	var err error
	if p.control, err = c.Lay(o.Env(FaultsEnv), cmp.Or(o.Env(FaultsFileEnv), filepath.Join(c.AppDir, "faults"))); err != nil {
		p.takeControl(false, err)
	}
	if err := p.prepare(); err != nil {
		p.abort("%s", err)
	} else {
		p.serve()
	}
	p.closeAll()
	p.tasks.Wait()
	return p.code()
}

// prepare checks what the real server asserts at start and opens the port.
func (p *process) prepare() error {
	c := p.config
	_, metasErr := c.ParseMetas()
	host, err := ownAddress(c, p.role, p.Env(AddressEnv))
	if err != nil {
		return err
	}
	port, known := c.Ports[p.role]
	if !known {
		return errors.New("command_manager.cpp:181:~command_manager(): assertion expression: [_handlers.empty()] " +
			"All commands must be deregistered before command_manager is destroyed, however flush-log is still registered")
	}
	p.self = peer.Addr(netip.AddrPortFrom(host, uint16(port)))
	if c.Sim().CrashAtStart {
		return errors.New("simulator: crash_at_start is set")
	}
	if err := p.listen(); err != nil {
		return err
	}
	if _, err := c.ParseDataDirs(p.role); err != nil {
		return fmt.Errorf("replication_common.cpp:299:get_data_dir_and_tag(): %w", err)
	}
	if metasErr != nil {
		return fmt.Errorf("replication_common.cpp:215:load_meta_servers(): %w", metasErr)
	}
	if len(c.Metas) == 0 {
		p.log.Line('E', "replication_common.cpp:237:load_meta_servers()", "no meta server specified in config [meta_server].server_list")
		return errors.New("replication_common.cpp:154:initialize(): assertion expression: " +
			"[replica_helper::load_meta_servers(meta_servers)] invalid meta server config")
	}
	if c.Grace <= c.Lease {
		return fmt.Errorf("failure_detector.cpp:90:start(): assertion expression: [grace_seconds > lease_seconds] %d vs %d",
			int(c.Grace.Seconds()), int(c.Lease.Seconds()))
	}
	p.announce()
	p.toldStart()
	return nil
}

func (p *process) announce() {
	for _, ch := range []string{"0", "1"} { // TCP and UDP
		p.log.Line('W', "rpc_engine.cpp:512:start()", "[%s] network server started at port %d, channel = %s, ...",
			p.role, p.self.Port(), ch)
	}
	p.log.Line('I', "rpc_engine.cpp:521:start()", "=== service_node=[%s], primary_address=[%s] ===", p.role, p.self)
	for i, d := range p.config.DataDirs {
		p.log.Line('I', "replication_common.cpp:299:get_data_dir_and_tag()", "data_dirs[%d] = %s, tag = %s", i+1, d.Dir, d.Tag)
		if err := os.MkdirAll(d.Dir, 0o755); err != nil {
			p.log.Line('W', "replication_common.cpp:320:get_data_dirs()", "data_dir %s is not usable: %v", d.Dir, err)
		}
	}
	p.log.Line('I', "replication_common.cpp:311:get_data_dirs_in_black_list()",
		"data_dirs_black_list_file[%s] not found, ignore it", p.config.BlackListFile())
}

// serve runs the role until the process is told to end.
func (p *process) serve() {
	switch p.role {
	case "meta":
		p.actor = newMeta(p)
	case "replica":
		p.actor = newReplica(p)
	default:
		p.actor = newCollector(p)
	}
	p.tasks.Go(p.accept)
	p.tasks.Go(p.receive)
	p.tasks.Go(p.refreshCounters)
	p.tasks.Go(p.watchControl)
	p.tasks.Go(func() { p.actor.run(p.life) })
	select {
	case <-p.life.Done():
	case <-p.Signals:
		p.terminate()
	}
}

// terminate is what SIGTERM does: no flush, no hand-over, only a little time.
func (p *process) terminate() {
	fmt.Fprintln(p.Out, "got signal id: 15")
	serves := p.actor.slowToStop()
	if serves {
		p.told("stop while it serves")
	} else {
		p.told("stop")
	}
	p.closeAll()
	if serves {
		pause(p.life, p.config.Scaled(p.config.Sim().Stop))
	}
	fmt.Fprintln(p.Out, "dsn exit with code 0")
	p.die(exit{0})
}

// abort ends the process as a failed assertion does.
func (p *process) abort(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	p.told("abort")
	place, message, ok := strings.Cut(text, "(): ")
	if !ok {
		place, message = "pegasus_server.cpp:1:main", text
	}
	p.log.Line('F', place+"()", "%s", message)
	p.die(exit{abortCode})
}

// hazard aborts because of a request no client of a real cluster may send.
func (p *process) hazard(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	fmt.Fprintf(p.Out, "HAZARD: %s\n", text)
	p.abort("message_parser.cpp:1:on_request(): HAZARD: %s", text)
}

func (p *process) code() int {
	var e exit
	if errors.As(context.Cause(p.life), &e) {
		return e.code
	}
	return 128 + int(syscall.SIGKILL)
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
