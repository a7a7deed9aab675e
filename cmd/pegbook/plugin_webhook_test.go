package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"
)

// receiver is a server that webhooks post to. What it does depends on the path.
type receiver struct {
	*httptest.Server
	mu    sync.Mutex // guards the rest
	lines map[string][]string
	tries map[string]int
	free  chan struct{}
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{lines: map[string][]string{}, tries: map[string]int{}, free: make(chan struct{})}
	r.Server = httptest.NewServer(http.HandlerFunc(r.serve))
	t.Cleanup(func() {
		close(r.free)
		r.Close()
	})
	return r
}

func (r *receiver) serve(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(q.Body)
	if err != nil {
		return
	}
	r.mu.Lock()
	r.tries[q.URL.Path]++
	try := r.tries[q.URL.Path]
	r.mu.Unlock()
	switch {
	case strings.HasPrefix(q.URL.Path, "/hang"):
		<-r.free
		return
	case strings.HasPrefix(q.URL.Path, "/500"), strings.HasPrefix(q.URL.Path, "/flaky") && try%2 == 1:
		http.Error(w, "no", http.StatusInternalServerError)
		return
	case strings.HasPrefix(q.URL.Path, "/404"):
		http.NotFound(w, q)
		return
	}
	var m struct {
		Event, Text, Playbook string
		Check                 bool
		Details               map[string]json.RawMessage
	}
	line := "no JSON"
	if json.Unmarshal(body, &m) == nil {
		line = fmt.Sprintf("%s check=%t %s %s %s", m.Event, m.Check, m.Playbook, m.Text, signedBy(q.Header.Get("X-Pegbook-Signature"), body, "k3y-of-the-hook"))
		if strings.Contains(string(body), "s3cret") {
			line += " SHOWS A SECRET"
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines[q.URL.Path] = append(r.lines[q.URL.Path], line)
}

func signedBy(signature string, body []byte, key string) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write(body)
	switch signature {
	case "":
		return "unsigned"
	case "sha256=" + hex.EncodeToString(mac.Sum(nil)):
		return "signed"
	}
	return "signed wrongly"
}

// posted writes what came to a path into the file posted.
func (r *receiver) posted(ts *testscript.TestScript, _ bool, args []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	text := ""
	for _, line := range r.lines[args[0]] {
		text += line + "\n"
	}
	text += fmt.Sprintf("%d requests\n", r.tries[args[0]])
	ts.Check(os.WriteFile(ts.MkAbs("posted"), []byte(text), 0o600))
}

// TestWebhook runs what users of the example see, against an HTTP server that answers, refuses and hangs.
func TestWebhook(t *testing.T) {
	r := newReceiver(t)
	examples := buildExamples(t, "webhook")
	testscript.Run(t, testscript.Params{
		Dir:  filepath.Join("testdata", "webhook"),
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){"posted": r.posted},
		Setup: func(env *testscript.Env) error {
			env.Setenv("PEGBOOK_HOME", filepath.Join(env.WorkDir, ".pegbook"))
			env.Setenv("NO_COLOR", "1")
			env.Setenv("PATH", os.Getenv("PATH"))
			env.Setenv("SERVER", r.URL)
			require.NoError(t, os.MkdirAll(filepath.Join(env.WorkDir, "plugins"), 0o755))
			return os.Symlink(filepath.Join(examples, "webhook"), filepath.Join(env.WorkDir, "plugins", "webhook.of.examples"))
		},
	})
}
