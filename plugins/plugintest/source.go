package plugintest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pegbook/pegbook/plugins"
)

// source holds an inventory source to the contract.
func (s Suite) source(ctx context.Context, src *plugins.Source) {
	p := part{kind: kindSource, name: src.Name, doc: src.Doc, options: src.Options,
		use: func(ctx context.Context, folder string, options json.RawMessage) error {
			_, err := src.Answer(ctx, plugins.Question{File: filepath.Join(folder, "inventory.yml")}, options)
			return err
		}}
	tried := false
	for _, u := range s.described(ctx, p) {
		a := asking{Suite: s, use: u, source: src}
		if _, many := ledTo(u.options, ""); many > 0 {
			s.check(ctx, p, u.name+": servers that refuse are told as an error, without secrets", a.refuses)
			a.cancelled(ctx)
			if u.example {
				s.report(Check{Module: p.name, Name: u.name, Skipped: "it names servers, and those of an example are not asked; describe cases"})
				continue
			}
		}
		tried = a.answers(ctx) || tried
		s.check(ctx, p, u.name+": secrets stay secret, whatever comes of them", a.allSecrets)
	}
	s.tried(p, tried)
}

// tried reports a part of which no example and no case has shown anything.
func (s Suite) tried(p part, tried bool) {
	if !tried {
		s.report(Check{Module: p.name, Name: "something of what it does is tried", Problem: "no example and no case says anything of what it does: describe a case"})
	}
}

// asking is a use of a source.
type asking struct {
	Suite
	use
	source *plugins.Source
}

func (a asking) ask(ctx context.Context, folder string, options json.RawMessage) (*plugins.Inventory, error) {
	ctx, stop := context.WithTimeoutCause(ctx, answerLimit, fmt.Errorf("it has not answered within %s", answerLimit))
	defer stop()
	return a.source.Answer(ctx, plugins.Question{File: filepath.Join(folder, "inventory.yml")}, options)
}

// refuses leads the source to servers that are not there.
func (a asking) refuses(t *trial) {
	led, _ := ledTo(a.guarded(a.use.options), refusing(t).address)
	inv, err := a.ask(t.Context(), a.folder(t), led)
	a.discreet(t, inv, err)
	switch problem := a.misnamed(err); {
	case problem != "":
		t.Errorf("%s", problem)
	case err == nil && inv != nil && len(inv.Hosts) == 0 && len(inv.Groups) == 0:
		t.Errorf("nothing that it names can be reached, and it answers that there are no hosts; that is an error")
	}
}

// cancelled leads the source to servers that never answer, and cancels.
func (a asking) cancelled(ctx context.Context) {
	c := Check{Module: a.part.name, Name: a.name + ": a cancelled question ends"}
	c.Problem = trying(ctx, func(t *trial) {
		e := hanging(t)
		led, _ := ledTo(a.guarded(a.use.options), e.address)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		folder, done := a.folder(t), make(chan struct{})
		go func() {
			defer close(done)
			inv, err := a.ask(ctx, folder, led)
			a.discreet(t, inv, err)
		}()
		select {
		case <-e.touched:
		case <-done:
			c.Skipped = "it connects to nothing that it names"
			return
		case <-time.After(answerLimit):
			c.Skipped = "it connects to nothing that it names"
		}
		cancel()
		<-done
		if !e.letGo(patiently) {
			t.Errorf("%s after it was cancelled it still holds its connection; watch the context that it is given", patiently)
		}
	})
	a.report(c)
}

// answers asks the source as the use is written, and looks at the answers. False: that shows nothing, good or bad.
func (a asking) answers(ctx context.Context) bool {
	c := Check{Module: a.part.name, Name: a.name + ": it answers the same each time, changes nothing, and what an inventory takes"}
	c.Problem = trying(ctx, func(t *trial) {
		folder := a.folder(t)
		watched := []string{folder}
		if a.Home != "" {
			watched = append(watched, a.Home)
		}
		was := state(watched...)
		var first string
		for range 3 { // two answers in the order of a map are often alike
			inv, err := a.ask(t.Context(), folder, a.use.options)
			a.discreet(t, inv, err)
			if done := a.failed(t, err, &c); done {
				break
			}
			answer := written(inv)
			if first != "" && answer != first {
				t.Errorf("asked again it answers something else:\n%s\nbefore it was\n%s", answer, first)
				break
			}
			if first == "" {
				a.look(t, inv)
			}
			first = answer
		}
		same(t, was, watched...)
	})
	if c.Problem != "" {
		c.Skipped = ""
	}
	a.report(c)
	return c.Skipped == ""
}

// failed deals with an error: a case may want one, and an example may need what is not there.
func (a asking) failed(t *trial, err error, c *Check) bool {
	problem := a.misnamed(err)
	switch {
	case problem != "":
		t.Errorf("%s", problem)
	case a.c.Error != "" && (err == nil || !strings.Contains(err.Error(), a.c.Error)):
		t.Errorf("it ends with %s and should with an error that holds %q", outcome(err), a.c.Error)
	case err != nil && a.c.Error == "" && a.example && !errors.Is(err, context.DeadlineExceeded):
		c.Skipped = fmt.Sprintf("it needs something that is not here (%v); describe cases", err)
	case err != nil && a.c.Error == "":
		t.Errorf("it fails: %v", err)
	}
	return err != nil || a.c.Error != ""
}

// look looks at an answer.
func (a asking) look(t *trial, inv *plugins.Inventory) {
	if err := a.Merge(inv); err != nil {
		t.Errorf("an inventory does not take its answer: %v", err)
	}
	if a.c.Hosts == nil {
		return
	}
	var names []string
	for _, h := range inv.Hosts {
		names = append(names, h.Name)
	}
	for _, g := range inv.Groups {
		for _, name := range g.Hosts {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	if !slices.Equal(names, a.c.Hosts) {
		t.Errorf("it answers the hosts %q and should answer %q", names, a.c.Hosts)
	}
}

// discreet looks for secret options in what a source tells.
func (a asking) discreet(t *trial, inv *plugins.Inventory, err error) {
	secrets := a.secrets()
	if err != nil {
		shows(t, "its error", err.Error(), secrets)
	}
	shows(t, "what it writes to its output", a.wordsOf(), secrets)
	if inv == nil {
		return
	}
	open := plugins.Inventory{}
	for _, h := range inv.Hosts {
		open.Host(h.Name).Vars = openVars(h.Vars)
	}
	for _, g := range inv.Groups {
		*open.Group(g.Name) = plugins.Group{Name: g.Name, Hosts: g.Hosts, Children: g.Children, Vars: openVars(g.Vars)}
	}
	shows(t, "its answer, where it is not a variable that was set with SetSecret,", written(&open), secrets)
}

func openVars(all plugins.Variables) plugins.Variables {
	return slices.DeleteFunc(slices.Clone(all), func(v plugins.Variable) bool { return v.Secret })
}

// allSecrets gives every secret option a value.
func (a asking) allSecrets(t *trial) {
	led, _ := ledTo(a.allSecret(), refusing(t).address)
	inv, err := a.ask(t.Context(), a.folder(t), led)
	a.discreet(t, inv, err)
}

// written is an answer as text.
func written(inv *plugins.Inventory) string {
	raw, err := json.Marshal(inv)
	if err != nil {
		return err.Error()
	}
	return string(raw)
}
