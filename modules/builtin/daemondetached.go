package builtin

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/pegbook/pegbook/modules"
)

// launch writes down who the process is before it becomes the program, so that no moment exists in which
// it runs and nobody knows it. $0 is the file without ending, $1 and $2 are limits.
const launch = `set -e
[ "$1" = 0 ] || ulimit -n "$1"
[ "$2" = 0 ] || ulimit -c unlimited
ln -sfn "/proc/$$" "$0.proc"
{ cat "/proc/$$/stat"; cat /proc/sys/kernel/random/boot_id; } >"$0.stat.new"
mv "$0.stat.new" "$0.stat"
shift 2
exec "$@"`

// end signals a process and waits for it, all on the host: one round trip however long it takes. It
// checks the start time before each signal, because process ids are used again. $0 id, $1 start time, $2 signal,
// $3 tenths of seconds to wait, $4 whether to kill.
const end = `same() {
  line=$(cat "/proc/$0/stat" 2>/dev/null) || return 1
  set -- ${line##*) }
  [ "$1" != Z ] && [ "${20}" = "$start" ]
}
start=$1 signal=$2 tenths=$3 kill=$4
same || exit 0
kill "-$signal" "$0" || exit 1
while [ "$tenths" -gt 0 ]; do
  same || exit 0
  sleep 0.1
  tenths=$((tenths - 1))
done
[ "$kill" = 1 ] || exit 9
kill -KILL "$0"
while same; do sleep 0.1; done`

// stillThere is how end says that the process outlived its time.
const stillThere = 9

func (d *daemon) detached(ctx context.Context, call *modules.Call, host modules.Host, stop, start bool) (pid int, err error) {
	if stop {
		call.Note("%s gets SIG%s", d.args.Name, d.args.StopSignal)
		if err := d.end(ctx, host); err != nil {
			return d.found.pid, err
		}
	}
	if !start {
		return 0, host.Apply(ctx,
			modules.Change{Kind: modules.Remove, Path: d.file(".proc")},
			modules.Change{Kind: modules.Remove, Path: d.file(".stat")})
	}
	if err := host.Apply(ctx, d.preparation()...); err != nil {
		return 0, err
	}
	core := "0"
	if d.args.Core {
		core = "1"
	}
	argv := append([]string{"/bin/sh", "-c", launch, d.file(""), strconv.Itoa(d.args.Nofile), core}, d.args.Exec...)
	out, err := host.Run(ctx, modules.Command{Argv: argv, Dir: d.args.Chdir, Env: d.args.Environment, Detach: true, Log: d.args.Log})
	if err != nil {
		return 0, err
	}
	return out.PID, d.staysUp(ctx, call, host)
}

// preparation makes the folders and notes what is about to be started.
func (d *daemon) preparation() []modules.Change {
	changes := []modules.Change{
		{Kind: modules.MakeDirectory, Path: d.args.RunDir},
		{Kind: modules.WriteFile, Path: d.file(".identity"), Content: modules.Bytes("identity", []byte(d.identity+"\n"))},
		{Kind: modules.Remove, Path: d.file(".stat")},
	}
	if d.args.Log != "" {
		changes = append(changes, modules.Change{Kind: modules.MakeDirectory, Path: path.Dir(d.args.Log)})
	}
	return changes
}

func (d *daemon) end(ctx context.Context, host modules.Host) error {
	tenths := strconv.Itoa(int(d.args.StopTimeout / (100 * time.Millisecond)))
	kill := "0"
	if d.args.Kill {
		kill = "1"
	}
	_, err := host.Run(ctx, modules.Command{Argv: []string{"/bin/sh", "-c", end, strconv.Itoa(d.found.pid), d.found.start,
		strings.TrimPrefix(d.args.StopSignal, "SIG"), tenths, kill}})
	var exit *modules.ExitError
	if errors.As(err, &exit) && exit.ExitCode == stillThere {
		return fmt.Errorf("%s (process %d) still runs %s after SIG%s; give it more stop_timeout, or set kill: true",
			d.args.Name, d.found.pid, d.args.StopTimeout, d.args.StopSignal)
	}
	return err
}

// staysUp watches the new process for stay_up.
func (d *daemon) staysUp(ctx context.Context, call *modules.Call, host modules.Host) error {
	deadline := time.Now().Add(d.args.StayUp)
	for {
		call.Note("%s was started; watching whether it stays up", d.args.Name)
		if err := sleep(ctx, min(200*time.Millisecond, d.args.StayUp)); err != nil {
			return err
		}
		files, err := host.Look(ctx,
			modules.Query{Path: d.file(".stat"), Content: 16 << 10},
			modules.Query{Path: d.file(".proc") + "/stat", Content: 16 << 10},
			modules.Query{Path: "/proc/sys/kernel/random/boot_id", Content: 1 << 10})
		if err != nil {
			return err
		}
		_, _, ok := d.alive(string(files[0].Content), string(files[1].Content), strings.TrimSpace(string(files[2].Content)))
		// Without a record it has not got as far as being the program; that is given the time as well.
		if !ok && (files[0].Kind != modules.Missing || time.Now().After(deadline)) {
			return fmt.Errorf("%s ended right after it was started; %s", d.args.Name, d.tail(ctx, host))
		}
		if time.Now().After(deadline) {
			return nil
		}
	}
}
