package plugins

import (
	"os"
	"os/exec"
	"syscall"
)

// watcher is what stays behind for a moment when pegbook is killed: its input ends, the plugin gets the time that it
// has to end by itself, and then everything that it has started is ended, also what has left its process group.
const watcher = `read -r nothing; sleep 0.4
for turn in 1 2; do
	for process in $(grep -lsF -e "$1" /proc/[0-9]*/environ); do
		process=${process#/proc/}
		kill -9 "${process%/environ}"
	done
done
kill -9 0`

// watchOver starts the watcher in a plugin's process group, and lets go of input. Whoever ends the group ends the
// watcher. Where there is no shell the kernel ends the plugin all the same, but not what it has started.
func watchOver(group int, mark string, input *os.File) {
	cmd := exec.Command("/bin/sh", "-c", watcher, "pegbook-plugin-watcher", mark) //nolint:gosec // a constant script
	cmd.Env, cmd.Dir, cmd.Stdin = []string{"PATH=/usr/bin:/bin"}, "/", input
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pgid: group}
	go func() {
		err := cmd.Start()
		input.Close()
		if err == nil {
			_ = cmd.Wait() // it is killed
		}
	}()
}
