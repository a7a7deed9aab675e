// Command webhook is a notifier as a site would write it: it tells an HTTP server what becomes of runs.
package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/plugins"
)

func main() { plugins.Serve(notifier()) }

// notifier is the notifier.
func notifier() *plugins.Notifier {
	return plugins.DefineNotifier("webhook", `Post what becomes of runs to a URL

Each event is one POST of a JSON object: event, time, run, playbook, check (true for a dry run), text (one line for
people), and details, which is the event as pegbook run --json prints it. An answer of 2xx is a success; 429 and 5xx,
and a server that does not answer, are tried again; anything else is not.

A URL is often a secret itself. It stands in the file (encrypted with !vault), in a file of its own, or in an
environment variable that the plugin was given: pegbook plugin add --env NAME. It is shown nowhere. With a key each
request has the header X-Pegbook-Signature: sha256= and the HMAC-SHA-256 of its body.

    # oncall.yml
    plugin: webhook
    url_file: /etc/pegbook/oncall-url
    events: [run_started, gate_waiting, run_paused, run_done]
    retries: 3`, begin)
}

type options struct {
	URL     string            `arg:"url,secret" doc:"where to post"`
	URLFile string            `arg:"url_file" doc:"a file that holds the URL, from the folder of this file"`
	URLEnv  string            `arg:"url_env" doc:"an environment variable that holds the URL"`
	Key     string            `arg:"key,secret" doc:"the key of the signature"`
	KeyFile string            `arg:"key_file" doc:"a file that holds the key"`
	KeyEnv  string            `arg:"key_env" doc:"an environment variable that holds the key"`
	Events  []string          `arg:"events" doc:"kinds of events; without it run_started, failed tasks, gate_waiting, run_paused, run_continued and run_done"`
	Headers map[string]string `arg:"headers,secret" doc:"more headers of the requests"`
	Retries int               `arg:"retries" default:"3" min:"0" max:"20" doc:"how often a request that failed is tried again"`
	Pause   time.Duration     `arg:"pause" default:"500ms" doc:"the time before the first retry; it doubles with each"`
	Timeout time.Duration     `arg:"timeout" default:"5s" doc:"how long a request may take"`
}

// message is what is posted.
type message struct {
	Event    string          `json:"event"`
	Time     time.Time       `json:"time"`
	Run      string          `json:"run"`
	Playbook string          `json:"playbook"`
	Check    bool            `json:"check"`
	Text     string          `json:"text"`
	Details  json.RawMessage `json:"details"`
}

// hook posts the events of one run.
type hook struct {
	options
	run      plugins.Run
	url, key string
	failures bool // of tasks all events come, and only those of failed ones are posted
	client   *http.Client
	playbook string
}

func begin(_ context.Context, run plugins.Run, o options) (*plugins.Listener, error) {
	h := &hook{options: o, run: run, client: &http.Client{Timeout: o.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}} // what is signed for one server is not for another
	var err error
	dir := filepath.Dir(run.File)
	if h.url, err = secret("url", dir, o.URL, o.URLFile, o.URLEnv); err != nil {
		return nil, err
	}
	if h.key, err = secret("key", dir, o.Key, o.KeyFile, o.KeyEnv); err != nil {
		return nil, err
	}
	if u, err := url.Parse(h.url); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, &modules.ArgumentError{Arg: "url", Problem: "argument url is no http or https URL", Hint: "set url, url_file or url_env"}
	}
	kinds := o.Events
	if len(kinds) == 0 {
		h.failures = true
		kinds = []string{plugins.RunStarted, plugins.TaskDone, plugins.GateWaiting, plugins.RunPaused, plugins.RunContinued, plugins.RunDone}
	}
	return &plugins.Listener{Kinds: kinds, Tell: h.tell}, nil
}

// secret gives a value that stands in the options, in a file or in the environment.
func secret(name, dir, value, file, env string) (string, error) {
	switch {
	case value != "":
		return value, nil
	case file != "":
		if !filepath.IsAbs(file) {
			file = filepath.Join(dir, file)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return "", &modules.ArgumentError{Arg: name + "_file", Problem: fmt.Sprintf("argument %s_file: %v", name, err)}
		}
		return strings.TrimSpace(string(text)), nil
	case env != "":
		value, ok := os.LookupEnv(env)
		if !ok {
			return "", &modules.ArgumentError{Arg: name + "_env", Problem: fmt.Sprintf("argument %s_env: %s is not set, or was not given to the plugin", name, env),
				Hint: "pegbook plugin add --env " + env}
		}
		return value, nil
	}
	return "", nil
}

// tell posts an event.
func (h *hook) tell(ctx context.Context, e plugins.Event) error {
	if e.Kind == plugins.RunStarted {
		h.playbook = e.Playbook
	}
	if h.failures && e.Kind == plugins.TaskDone && (e.Status != "failed" && e.Status != "unreachable" || e.Ignored || e.Rescued) {
		return nil
	}
	body, err := json.Marshal(message{Event: e.Kind, Time: e.Time, Run: h.run.ID, Playbook: h.playbook, Check: h.run.Check, Text: text(e), Details: e.Line})
	if err != nil {
		return err
	}
	pause := h.Pause
	for try := 0; ; try++ {
		again, err := h.post(ctx, body)
		if err == nil {
			return nil
		}
		if !again || try >= h.Retries {
			return fmt.Errorf("%s could not be posted: %w", e.Kind, err)
		}
		select {
		case <-time.After(pause):
			pause *= 2
		case <-ctx.Done():
			return fmt.Errorf("%s could not be posted: %w", e.Kind, err)
		}
	}
}

// post makes one request, and says whether another one may help. Its errors do not show the URL.
func (h *hook) post(ctx context.Context, body []byte) (again bool, err error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url, bytes.NewReader(body))
	if err != nil {
		return false, errors.New("the URL cannot be used")
	}
	q.Header.Set("Content-Type", "application/json")
	q.Header.Set("User-Agent", "pegbook-webhook")
	for name, value := range h.Headers {
		q.Header.Set(name, value)
	}
	if h.key != "" {
		mac := hmac.New(sha256.New, []byte(h.key))
		mac.Write(body)
		q.Header.Set("X-Pegbook-Signature", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	}
	answer, err := h.client.Do(q)
	if err != nil {
		return true, hidden(err)
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 64<<10)) // so that the connection can be used again
	if answer.StatusCode/100 == 2 {
		return false, nil
	}
	return answer.StatusCode == http.StatusTooManyRequests || answer.StatusCode/100 == 5, fmt.Errorf("the server answers %s", answer.Status)
}

// hidden is an error of a request without its URL.
func hidden(err error) error {
	var wrapped *url.Error
	var network net.Error
	switch {
	case errors.As(err, &network) && network.Timeout():
		return errors.New("the server does not answer in time")
	case errors.As(err, &wrapped):
		var dial *net.OpError
		if errors.As(err, &dial) {
			return fmt.Errorf("the server cannot be reached (%s)", dial.Op)
		}
		return errors.New("the server breaks off")
	}
	return err
}

// text is an event in one line for people.
func text(e plugins.Event) string {
	switch e.Kind {
	case plugins.RunStarted:
		return "run started: " + e.Playbook
	case plugins.TaskDone:
		return fmt.Sprintf("%s on %s: %s: %s", e.Status, e.Host, e.Task, e.Msg)
	case plugins.GateWaiting:
		return fmt.Sprintf("waits for approval: %s; %s", e.Message, e.Approve)
	case plugins.RunPaused:
		return "paused: " + e.Reason
	case plugins.RunDone:
		if e.ExitCode == 0 {
			return "done"
		}
		return strings.TrimSuffix(fmt.Sprintf("ended with exit code %d: %s", e.ExitCode, e.Message), ": ")
	}
	return strings.ReplaceAll(e.Kind, "_", " ")
}
