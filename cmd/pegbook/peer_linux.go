package main

import (
	"errors"
	"net"

	"golang.org/x/sys/unix"
)

// peer is the user at the other end of a connection, as the kernel says.
func peer(conn *net.UnixConn) (uid int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) { cred, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err != nil || failed != nil {
		return 0, errors.Join(err, failed)
	}
	return int(cred.Uid), nil
}
