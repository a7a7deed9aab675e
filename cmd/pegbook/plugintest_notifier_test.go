package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/plugins"
	"github.com/pegbook/pegbook/plugins/plugintest"
)

// postOptions are those of the notifier that the table below breaks, one rule at a time.
type postOptions struct {
	URL   string `arg:"url,required,secret" doc:"where to post"`
	Token string `arg:"token,secret" doc:"what is sent along"`
}

const postPage = `Post events

Posts each.

    # post.yml
    plugin: post
    url: https://hooks.example.org/t0ken`

type postBegin = func(ctx context.Context, run plugins.Run, o postOptions) (*plugins.Listener, error)

// poster posts as a notifier should.
type poster struct {
	o      postOptions
	client *http.Client
}

func newPoster(o postOptions) *poster { return &poster{o, &http.Client{}} }

func (p *poster) post(ctx context.Context, e plugins.Event) error {
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, p.o.URL, bytes.NewReader(e.Line))
	if err != nil {
		return errors.New("the URL cannot be used")
	}
	q.Header.Set("Authorization", p.o.Token)
	answer, err := p.client.Do(q)
	if err != nil {
		return fmt.Errorf("%s could not be posted: the server cannot be reached", e.Kind)
	}
	return answer.Body.Close()
}

func beginPosting(_ context.Context, _ plugins.Run, o postOptions) (*plugins.Listener, error) {
	return &plugins.Listener{Tell: newPoster(o).post}, nil
}

func postNotifier(begin postBegin) *plugins.Notifier {
	return plugins.DefineNotifier("post", postPage, begin)
}

// postNotifierThat is a poster with another way to listen.
func postNotifierThat(listen func(p *poster, run plugins.Run) *plugins.Listener) *plugins.Notifier {
	return postNotifier(func(_ context.Context, run plugins.Run, o postOptions) (*plugins.Listener, error) {
		return listen(newPoster(o), run), nil
	})
}

func TestPluginTestFindsNothingWrongWithASoundNotifier(t *testing.T) {
	require.Empty(t, failedChecks(t, postNotifier(beginPosting)))
	require.Empty(t, failedChecks(t, postNotifierThat(func(p *poster, _ plugins.Run) *plugins.Listener {
		return &plugins.Listener{Kinds: []string{plugins.TaskDone, plugins.RunDone}, Tell: p.post}
	}), plugintest.Case{Name: "no URL", Notifier: "post", Options: json.RawMessage(`{"url": "http://a b"}`), Error: "cannot be used"}))
}

// A notifier that writes into a file is looked at there.
func TestPluginTestReadsWhatANotifierWrites(t *testing.T) {
	writes := func(backwards bool) *plugins.Notifier {
		return plugins.DefineNotifier("log", "Log events\n\nTo a file.\n\n    plugin: log\n    file: run.log", func(_ context.Context, run plugins.Run, o struct {
			File string `arg:"file,required" doc:"the file, from the folder of this one"`
		}) (*plugins.Listener, error) {
			var lines []string
			return &plugins.Listener{Tell: func(_ context.Context, e plugins.Event) error {
				lines = append(lines, string(e.Line))
				return nil
			}, End: func(context.Context) error {
				if backwards {
					slices.Reverse(lines)
				}
				return os.WriteFile(filepath.Join(filepath.Dir(run.File), o.File), []byte(strings.Join(lines, "\n")), 0o600)
			}}, nil
		})
	}
	require.Empty(t, failedChecks(t, writes(false)))
	require.Contains(t, failedChecks(t, writes(true)), "it passes them on in the order [9 8")
}

// Each notifier breaks one rule; the finding tells its author what to mend.
func TestPluginTestFindsWhatIsWrongWithNotifiers(t *testing.T) {
	var one sync.Mutex // what a notifier with a bug shares between runs
	for _, c := range []struct {
		name     string
		notifier *plugins.Notifier
		want     string
	}{
		{"an unknown kind is a problem", postNotifierThat(func(p *poster, _ plugins.Run) *plugins.Listener {
			return &plugins.Listener{Tell: func(ctx context.Context, e plugins.Event) error {
				if e.Kind == "moon_landed" {
					return errors.New("unknown kind")
				}
				return p.post(ctx, e)
			}}
		}), "told of an event moon_landed it says: plugin loopback: unknown kind"},
		{"an unknown kind is a bug", postNotifierThat(func(p *poster, _ plugins.Run) *plugins.Listener {
			return &plugins.Listener{Tell: func(ctx context.Context, e plugins.Event) error {
				return map[string]func(context.Context, plugins.Event) error{plugins.RunStarted: p.post, plugins.TaskDone: p.post, plugins.RunDone: p.post}[e.Kind](ctx, e)
			}}
		}), "told of an event play_started it says: "},
		{"an unknown field is a problem", postNotifierThat(func(p *poster, _ plugins.Run) *plugins.Listener {
			return &plugins.Listener{Tell: func(ctx context.Context, e plugins.Event) error {
				if bytes.Contains(e.Line, []byte("added_in_2030")) {
					return errors.New("unknown field")
				}
				return p.post(ctx, e)
			}}
		}), "it says: plugin loopback: unknown field"},
		{"it wants a kind that there is not", postNotifierThat(func(p *poster, _ plugins.Run) *plugins.Listener {
			return &plugins.Listener{Kinds: []string{"task_ended"}, Tell: p.post}
		}), "it wants events of the kind task_ended, which there is not"},
		{"refusals are not told", postNotifierThat(func(p *poster, _ plugins.Run) *plugins.Listener {
			return &plugins.Listener{Tell: func(ctx context.Context, e plugins.Event) error {
				_ = p.post(ctx, e)
				return nil
			}}
		}), "its server refuses every connection, and it says nothing"},
		{"cancelling is not noticed", postNotifierThat(func(p *poster, _ plugins.Run) *plugins.Listener {
			return &plugins.Listener{Tell: func(ctx context.Context, e plugins.Event) error { return p.post(context.WithoutCancel(ctx), e) }}
		}), "after it was cancelled it still holds its connection"},
		{"a run that hangs keeps others waiting", postNotifierThat(func(p *poster, _ plugins.Run) *plugins.Listener {
			return &plugins.Listener{Tell: func(ctx context.Context, e plugins.Event) error {
				one.Lock()
				defer one.Unlock()
				return p.post(ctx, e)
			}}
		}), "while the server of one run hangs, another run is not told of"},
		{"a secret in a problem", postNotifierThat(func(p *poster, _ plugins.Run) *plugins.Listener {
			return &plugins.Listener{Tell: func(ctx context.Context, e plugins.Event) error {
				if err := p.post(ctx, e); err != nil {
					return fmt.Errorf("post %s: %w", p.o.URL, err)
				}
				return nil
			}}
		}), "a problem that it tells shows a secret option"},
		{"a secret that the example does not have", postNotifierThat(func(p *poster, run plugins.Run) *plugins.Listener {
			if p.o.Token != "" {
				run.Problem(fmt.Errorf("the token %s is too short", p.o.Token))
			}
			return &plugins.Listener{Tell: p.post}
		}), "a problem that it tells shows a secret option"},
		{"out of order", postNotifierThat(func(p *poster, _ plugins.Run) *plugins.Listener {
			var all []plugins.Event
			return &plugins.Listener{Tell: func(_ context.Context, e plugins.Event) error {
				all = append(all, e)
				return nil
			}, End: func(ctx context.Context) error {
				for _, e := range slices.Backward(all) {
					if err := p.post(ctx, e); err != nil {
						return err
					}
				}
				return nil
			}}
		}), "it passes them on in the order [9 8"},
		{"what is left at the end is passed on later", postNotifierThat(func(p *poster, _ plugins.Run) *plugins.Listener {
			queue := make(chan plugins.Event, 100)
			return &plugins.Listener{Tell: func(ctx context.Context, e plugins.Event) error {
				if cap(queue) > 0 && len(queue) == 0 {
					go func() {
						for e := range queue {
							_ = p.post(context.WithoutCancel(ctx), e)
						}
					}()
				}
				queue <- e
				return nil
			}}
		}), "events are passed on after End has said that all are"},
		{"what comes too fast is lost", postNotifierThat(func(p *poster, run plugins.Run) *plugins.Listener {
			busy := make(chan struct{}, 1)
			var sending sync.WaitGroup
			return &plugins.Listener{Tell: func(ctx context.Context, e plugins.Event) error {
				select {
				case busy <- struct{}{}:
					sending.Go(func() {
						defer func() { <-busy }()
						if err := p.post(ctx, e); err != nil {
							run.Problem(err)
						}
					})
				default: // too fast
				}
				return nil
			}, End: func(context.Context) error {
				sending.Wait()
				return nil
			}}
		}), "told of events one at a time it passes on"},
		{"options that nobody knows are taken", func() *plugins.Notifier {
			n := postNotifier(beginPosting)
			n.Begin = func(ctx context.Context, run plugins.Run, raw json.RawMessage) (*plugins.Listener, error) {
				var o postOptions
				_ = json.Unmarshal(raw, &o)
				return beginPosting(ctx, run, o)
			}
			return n
		}(), "the unknown argument no_such_argument_at_all gives no error"},
		{"an option that it does not have is blamed", postNotifier(func(context.Context, plugins.Run, postOptions) (*plugins.Listener, error) {
			return nil, &modules.ArgumentError{Arg: "key", Problem: "argument key is missing"}
		}), `it blames the option "key", which it does not have`},
		{"an option without documentation", func() *plugins.Notifier {
			n := postNotifier(beginPosting)
			n.Options[1].Doc = ""
			return n
		}(), "option token needs a line of documentation"},
		{"no example", plugins.DefineNotifier("post", "Post events\n\nPosts each.", beginPosting), "the manual page has no indented example, a file that says plugin: post"},
		{"an example that does not load", plugins.DefineNotifier("post", strings.Replace(postPage, "url:", "ulr:", 1), beginPosting), `takes no option "ulr"`},
		{"nothing that can be tried", postNotifier(func(context.Context, plugins.Run, postOptions) (*plugins.Listener, error) {
			return nil, errors.New("there is no sendmail here")
		}), "describe a case"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			require.Contains(t, failedChecks(t, c.notifier), c.want)
		})
	}
}
