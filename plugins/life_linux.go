package plugins

import "syscall"

// ownGroup puts a plugin into a process group of its own, out of reach of the terminal's Ctrl-C, and has the
// kernel end it when pegbook ends, however that happens.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
