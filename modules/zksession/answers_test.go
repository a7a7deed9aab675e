package zksession

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
	"github.com/stretchr/testify/require"
)

// liar is a server that opens sessions, and then answers questions with whatever it is told to.
type liar struct {
	mu      sync.Mutex
	session []byte // the answer to the next opening; nil: a good one
	body    []byte // the answer to the next question
	raw     []byte // what is said before that
}

// good is a session of 10 seconds.
var good = unhex("00000000 00002710 0000000000000007 00000010 00000000000000000000000000000000")

func unhex(text string) []byte {
	var digits []byte
	for _, c := range []byte(text) {
		if c != ' ' {
			digits = append(digits, c)
		}
	}
	raw, err := hex.DecodeString(string(digits))
	if err != nil {
		panic(err)
	}
	return raw
}

func framed(content []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(content))), content...) //nolint:gosec // short
}

func (l *liar) dial(context.Context, string, string) (net.Conn, error) {
	near, far := net.Pipe()
	go l.serve(far)
	return near, nil
}

func (l *liar) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	for first := true; ; first = false {
		var length [4]byte
		if _, err := io.ReadFull(conn, length[:]); err != nil {
			return
		}
		question := make([]byte, binary.BigEndian.Uint32(length[:]))
		if _, err := io.ReadFull(conn, question); err != nil {
			return
		}
		if _, err := conn.Write(l.answer(question, first)); err != nil {
			return
		}
	}
}

func (l *liar) answer(question []byte, first bool) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	if first {
		answer := good
		if l.session != nil {
			answer = l.session
		}
		l.session = nil
		return framed(answer)
	}
	header := append(append([]byte{}, question[:4]...), make([]byte, 12)...) // its number, and no error
	if op := int32(binary.BigEndian.Uint32(question[4:8])); op == opClose || op == 11 {
		return framed(header)
	}
	return append(l.raw, framed(append(header, l.body...))...)
}

func connected(t testing.TB, l *liar) *zk.Conn {
	t.Helper()
	conn, closed, err := Connect(t.Context(), Options{Dial: l.dial, Servers: []string{"zk1:2181"}, Wait: 5 * time.Second})
	require.NoError(t, err)
	t.Cleanup(closed)
	return conn
}

// A server that was taken over, or whoever poses as one, costs a failed question and not this process or its memory.
func TestAServerThatLiesCannotEndTheProcess(t *testing.T) {
	ask := map[string]func(*zk.Conn) error{
		"get":      func(c *zk.Conn) error { _, _, err := c.Get("/x"); return err },
		"children": func(c *zk.Conn) error { _, _, err := c.Children("/x"); return err },
		"acl":      func(c *zk.Conn) error { _, _, err := c.GetACL("/x"); return err },
		"exists":   func(c *zk.Conn) error { _, _, err := c.Exists("/x"); return err },
		"create":   func(c *zk.Conn) error { _, err := c.Create("/x", nil, 0, nil); return err },
		"multi":    func(c *zk.Conn) error { _, err := c.Multi(&zk.DeleteRequest{Path: "/x"}); return err },
	}
	for _, tt := range []struct{ name, ask, body, raw string }{
		{"more children than there can be", "children", "ffffffff", ""},
		{"many children that are not there", "children", "0fffffff", ""},
		{"an ACL without end", "acl", "7fffffff 00", ""},
		{"content that is not there", "get", "7fffffff", ""},
		{"content without what is known of it", "get", "00000001 61", ""},
		{"half of what is known of a node", "exists", "00000000", ""},
		{"no answer to operations done together", "multi", "", ""},
		{"operations that break off before their end", "multi", "0000000d", ""},
		{"a path without end", "create", "ffffffff", ""},
		{"an answer of 4 GB", "get", "", "ffffffff"},
		{"an answer of 1 GB that does not come", "get", "", "40000000 00"},
		{"an answer without a header", "get", "", "00000004 00000001"},
		{"news of a change without what has changed", "get", "", "00000010 ffffffff 0000000000000000 00000000"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel() // closing takes its second
			l := &liar{body: unhex(tt.body)}
			if tt.raw != "" {
				l.raw = unhex(tt.raw)
			}
			require.Error(t, ask[tt.ask](connected(t, l)))
		})
	}
}

func TestASessionThatNoServerGivesIsRefused(t *testing.T) {
	for name, session := range map[string]string{
		"no time at all":   "00000000 00000000 0000000000000007 00000000",
		"time before now":  "00000000 80000000 0000000000000007 00000000",
		"a key of 2 GB":    "00000000 00002710 0000000000000007 7fffffff",
		"half of a number": "0000",
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := Connect(t.Context(), Options{Servers: []string{"zk1:2181"}, Wait: 300 * time.Millisecond, Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
				return (&liar{session: unhex(session)}).dial(ctx, network, addr)
			}})
			require.ErrorContains(t, err, "zk1:2181: it does not answer as ZooKeeper does")
		})
	}
}

// FuzzAnswers lets a server answer anything: the library, which would take this process down, does not get to see what
// it cannot read, and every question has an end.
func FuzzAnswers(f *testing.F) {
	f.Add(uint8(0), unhex("00000001 61"+"00000000 00000000 00000000 00000000"))
	f.Add(uint8(0), append(unhex("00000001 61"), make([]byte, 68)...))
	f.Add(uint8(1), append(unhex("00000002 00000001 61 00000001 62"), make([]byte, 68)...))
	f.Add(uint8(2), append(unhex("00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65"), make([]byte, 68)...))
	f.Add(uint8(3), make([]byte, 68))
	f.Add(uint8(4), unhex("00000002 2f78"))
	f.Add(uint8(5), unhex("00000002 00 00000000 ffffffff 01 ffffffff"))
	f.Add(uint8(5), append(append(unhex("00000005 00 00000000"), make([]byte, 68)...), unhex("ffffffff 01 ffffffff")...))
	f.Add(uint8(6), unhex("ffffffff 0000000000000000 00000000 00000001 00000003 00000002 2f78"))
	l := &liar{}
	conn := connected(f, l)
	f.Fuzz(func(t *testing.T, what uint8, answer []byte) {
		l.mu.Lock()
		if l.body, l.raw = answer, nil; what == 6 {
			l.raw = framed(answer)
		}
		l.mu.Unlock()
		done := make(chan struct{})
		go func() {
			defer close(done)
			ask(conn, what)
		}()
		select {
		case <-done:
		case <-time.After(5 * time.Second):
			t.Fatal("the question has no end")
		}
	})
}

func ask(c *zk.Conn, what uint8) {
	switch what % 6 {
	case 0:
		_, _, _ = c.Get("/x")
	case 1:
		_, _, _ = c.Children("/x")
	case 2:
		_, _, _ = c.GetACL("/x")
	case 3:
		_, _, _ = c.Exists("/x")
	case 4:
		_, _ = c.Create("/x", nil, 0, nil)
	case 5:
		_, _ = c.Multi(&zk.DeleteRequest{Path: "/x"})
	}
}
