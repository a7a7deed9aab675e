package builtin

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/modules"
)

// FuzzFacts reads what a host answers when it is asked for its facts, which may be anything: all facts are JSON.
func FuzzFacts(f *testing.F) {
	f.Add("node h1.example.org\ndate 1767225600 UTC +0000\nweekday 4 Thursday\nlocal 2026-01-01T00:00:00\npasswd a:x:0:0:g:/:/bin/sh\n"+
		"fs 4096 10 9 8 7 /\nuuid 1-2 /dev/sda1\ndisk sda 10 512 0 0 Model\npart sda sda1 1 2\ndmi sys_vendor QEMU\nhostkey rsa ssh-rsa AAAA\nfact a e30=\nenv A=b\nnic eth0 1500 up 02:00\n",
		"processor : 0\nMemTotal: 1024 kB\n/dev/sda1 / ext4 rw 0 0\nnameserver 1.1.1.1\noptions a:b c\nID=debian\nNAME=\"Debian\"\n")
	f.Add("weekday -9 x\nlocal aaaaaaaaaaaaaaaaaaa\ndate a b c\ndisk sda -9223372036854775808 1 2 3\nfact x W2FdCls9\n", "nan inf -inf\nsiblings : -1\n")
	f.Add("nic lo 65536 unknown\n", "  +-- 0.0.0.0/0 3 0 5\n     |-- 10.0.0.1\n        /32 host LOCAL\neth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\nfe80000000000000 02 40 20 80 eth0\n")
	f.Fuzz(func(t *testing.T, out, content string) {
		text := map[string]string{}
		for _, q := range kernelFiles() {
			text[q.Path] = content
		}
		said, all := sayings(out), facts{}
		platformFacts(all, text, said)
		userFacts(all, said)
		dateFacts(all, said)
		clockFact(all, modules.Output{Started: time.Unix(0, -1<<63), Ended: time.Unix(1<<40, 0)}, time.Unix(0, 0), time.Unix(1, 0))
		moreFacts(all, text, said)
		hardwareFacts(all, text, said)
		networkFacts(all, text, said)
		virtualFacts(all, said)
		for name, value := range all {
			require.True(t, json.Valid(value), "%s is %q", name, value)
		}
	})
}

// FuzzHostText reads other things that hosts answer.
func FuzzHostText(f *testing.F) {
	f.Add("Id=a.service\nActiveState=active\n")
	f.Add("1 (a) b) S 1 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 99 1 1")
	f.Add("0100007F:1F90")
	f.Fuzz(func(_ *testing.T, text string) {
		readProperties([]byte(text))
		parseStat(text)
		readStarts(text)
		kernelAddress(text)
		firstLine(text)
	})
}
