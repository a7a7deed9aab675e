//go:build !linux

package plugins

import "syscall"

// ownGroup puts a plugin into a process group of its own, out of reach of the terminal's Ctrl-C. That pegbook has
// ended it learns from its input.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func closeOnExec() {}

func keepCoresOff(int) {}

func killMarked(string) {}
