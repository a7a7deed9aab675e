package pegasus

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

// ChangesEnv names a file to which every process adds a line for each thing that it was told to change, and for its
// start and its stop: time, address, role and what it was; a meta server also when it leads and which servers it calls
// dead. Tests see there what was done to a cluster, in order.
const ChangesEnv = "PEGASUS_SIM_CHANGES"

// told writes down what the process was told.
func (p *process) told(format string, args ...any) {
	if p.changes == "" {
		return
	}
	f, err := os.OpenFile(p.changes, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err == nil {
		// One write: lines of several processes do not mix.
		_, err = fmt.Fprintf(f, "%s %s %s %s\n", time.Now().UTC().Format("15:04:05.000"), p.self, p.role, fmt.Sprintf(format, args...))
		f.Close()
	}
	if err != nil {
		p.log.Line('E', "simulator", "%s: %v", ChangesEnv, err)
	}
}

// toldStart writes down in which version and with which configuration the process starts.
func (p *process) toldStart() {
	text, err := os.ReadFile(p.Args[0])
	if err != nil {
		p.log.Line('E', "simulator", "%v", err)
	}
	sum := sha256.Sum256(text)
	p.told("start %s config %s", p.Version.Number, hex.EncodeToString(sum[:6]))
}

// toldCommand writes down a remote command, unless it only asks.
func (p *process) toldCommand(name string, args []string) {
	asks := strings.HasPrefix(name, "perf-counters") || strings.HasPrefix(name, "sim.") ||
		slices.Contains([]string{"help", "server-info", "server-stat", "meta.lb.get_balance_operation_count"}, name) ||
		len(args) == 0 && name != "flush-log" && name != "replica.kill_partition" || len(args) == 1 && args[0] == "get"
	if !asks {
		p.told("command %s", strings.Join(append([]string{name}, args...), " "))
	}
}

// toldRequest writes down a request of a client to the leader, unless it only asks.
func (p *process) toldRequest(in *wire.Incoming) {
	switch q := in.Request.(type) {
	case *wire.ControlMetaRequest:
		if q.Level != wire.LevelQuery {
			p.told("level %s", q.Level)
		}
	case *wire.ProposeRequest:
		for _, a := range q.Actions {
			p.told("propose %v of %d.%d at %s to %s", a.Type, q.PID.App, q.PID.Index, a.Target.Address, a.Node.Address)
		}
	case *wire.CreateAppRequest, *wire.DropAppRequest, *wire.RecallAppRequest, *wire.RenameAppRequest, *wire.UpdateAppEnvRequest,
		*wire.SetMaxReplicaCountRequest, *wire.AddBackupPolicyRequest, *wire.ModifyBackupPolicyRequest, *wire.StartBackupRequest,
		*wire.RestoreRequest, *wire.RecoveryRequest:
		p.told("request %s", in.Code)
	}
}
