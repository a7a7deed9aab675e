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

const (
	// longestSocket is how long a socket's path may be: 108 bytes with the one that ends it.
	longestSocket = 107
	// longestName is how much of that our folder, go-plugin's in it and the socket may take, each with a number by chance.
	longestName = len("/"+socketPrefix+"4194304-4294967295") + len("/plugin-dir4294967295") + len("/plugin4294967295")
	// longestTemp is the longest folder of temporary files in which a socket still has room.
	longestTemp = longestSocket - longestName
)

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
