package plugins

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// socketPrefix begins the names of the folders that hold plugins' sockets; a process id follows.
const socketPrefix = "pegbook-plugin-"

// longestTemp is the longest folder of temporary files in which a socket still has room: its path has 108 bytes at most.
const longestTemp = 40

// socketFolder makes the folder for a plugin's socket, which nobody else can enter, and takes away those that a killed
// pegbook has left.
func socketFolder() (string, error) {
	temp := os.TempDir()
	if len(temp) > longestTemp {
		temp = "/tmp"
	}
	sweepSockets(temp)
	return os.MkdirTemp(temp, fmt.Sprintf("%s%d-", socketPrefix, os.Getpid()))
}

// sweepSockets removes this user's folders of processes that are gone. What cannot be removed is left for another time.
func sweepSockets(temp string) {
	entries, err := filepath.Glob(filepath.Join(temp, socketPrefix+"*"))
	if err != nil {
		return
	}
	for _, path := range entries {
		number, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(path), socketPrefix), "-")
		pid, err := strconv.Atoi(number)
		if err != nil || pid <= 1 || !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			continue
		}
		info, err := os.Lstat(path)
		if err != nil || !info.IsDir() {
			continue
		}
		if owner, ok := info.Sys().(*syscall.Stat_t); ok && int(owner.Uid) == os.Getuid() {
			_ = os.RemoveAll(path)
		}
	}
}
