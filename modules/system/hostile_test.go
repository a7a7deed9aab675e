package system

import (
	"testing"

	"github.com/pegbook/pegbook/modules"
)

// FuzzHostText reads what a host may say of its packages, mounts, users, keys and tables, which may be anything.
func FuzzHostText(f *testing.F) {
	f.Add("package a:amd64 ii 1.0\nauto a\ndeb a 1 /x.deb\ndeb\ndeb -\nstamp 1\nnow 2\ninterrupted\n")
	f.Add("Inst a [1] (2 Debian:12 [all])\nRemv b [1]\nPurg c\nE: broken\n")
	f.Add("Installing:\n a x86_64 1-1 base 1 k\n long\n   x86_64 1-1 base 1 k\nUpgrading:\n \nTransaction Summary\n")
	f.Add("1 2 8:1 / / rw - ext4 /dev/sda1 rw\n3 1 8:1 /a\\040b /mnt rw - ext4 /dev/sda1 rw\n4 1 8:1 / \\999 rw -")
	f.Add("root:x:0:0:root:/root:/bin/sh\n:\n\nx:y\n")
	f.Add("from=\"a,b\",no-pty ssh-ed25519 AAAA a@b\n")
	f.Fuzz(func(_ *testing.T, text string) {
		if h, err := readAptHost(text); err == nil {
			t := &aptTask{host: h}
			t.newDebs()
			t.installed()
		}
		readActs(text)
		readTransaction(text)
		aptErrors(text, text)
		mountedAt(text, "/mnt")
		for _, line := range lines(text) {
			parseKey(line)
		}
		file := modules.File{Kind: modules.Regular, Content: []byte(text)}
		a := readAccounts([]modules.File{file, file, file, file, file, file})
		for _, table := range []*table{a.passwd, a.group, a.shadow} {
			table.find("root")
			table.byID(0)
		}
	})
}
