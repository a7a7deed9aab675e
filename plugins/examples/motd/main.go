// Command motd is the smallest plugin that is worth something: one module in one file.
package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/plugins"
)

func main() { plugins.Serve(motd()) }

// motd is the module.
func motd() *modules.Module {
	return modules.Define("motd", `Say something to whoever logs in

Writes the message of the day, the file /etc/motd. A second run with the same text finds nothing to do.

    - name: whose host this is
      motd:
        text: This host belongs to the storage team.
        contact: storage@example.org`, propose)
}

type arguments struct {
	Text    string `arg:"text,required,free" doc:"what to say"`
	Contact string `arg:"contact" doc:"whom to ask; a line of its own"`
	Path    string `arg:"path,path" default:"/etc/motd" doc:"the file"`
}

// result is what register stores.
type result struct {
	Path string `json:"path"`
	Size int    `json:"size"`
}

// propose looks at the file and says what would change. It changes nothing: that is the Do of the proposal.
func propose(ctx context.Context, call *modules.Call, args arguments) (*modules.Proposal, error) {
	want := strings.TrimRight(args.Text, "\n") + "\n"
	if args.Contact != "" {
		want += "Contact: " + args.Contact + "\n"
	}
	files, err := call.Host.Look(ctx, modules.Query{Path: args.Path, Follow: true, Content: 64 << 10})
	if err != nil {
		return nil, err
	}
	found := files[0]
	p := &modules.Proposal{Output: result{args.Path, len(want)}}
	switch {
	case found.Kind == modules.Directory:
		return nil, fmt.Errorf("%s is a directory; give the path of a file", args.Path)
	case found.Kind == modules.Regular && string(found.Content) == want:
		return p, nil
	}
	p.Diff = []modules.Diff{{Subject: args.Path, Before: string(found.Content), After: want}}
	p.Change(modules.Change{Kind: modules.WriteFile, Path: args.Path, Content: modules.Bytes("motd", []byte(want))})
	return p, nil
}
