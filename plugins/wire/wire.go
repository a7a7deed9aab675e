// Package wire is the protocol between pegbook and its plugins as Go code, made from plugin.proto. It holds no
// logic: package plugins speaks it.
package wire

//go:generate go run ./generate
