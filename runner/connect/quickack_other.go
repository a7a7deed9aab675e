//go:build !linux

package connect

import "net"

func quick(c net.Conn) net.Conn { return c }
