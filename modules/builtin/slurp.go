package builtin

import (
	"context"
	"encoding/base64"
	"fmt"
	"io/fs"

	"github.com/pegbook/pegbook/modules"
)

// maxSlurped is the longest file that becomes a variable.
const maxSlurped = 16 << 20

// Slurp reads a file into a variable.
func Slurp() *modules.Module {
	return modules.Define("slurp", `Read a file of a host into a variable

Registers the content in Base64 (content) and its encoding ("base64"), so that any bytes survive. Files of
more than 16 MiB are refused; fetch takes those.

    - name: the host's own id
      slurp:
        src: /etc/machine-id
      register: id

    - name: show it
      debug:
        msg: "{{ .id.content | b64dec | trim }}"`, proposeSlurp)
}

type slurpArgs struct {
	Src string `arg:"src,path,required,alias=path" doc:"the file on the host"`
}

// slurped is what slurp registers.
type slurped struct {
	Source   string `json:"source"`
	Content  string `json:"content"`
	Encoding string `json:"encoding"`
}

func proposeSlurp(ctx context.Context, call *modules.Call, args slurpArgs) (*modules.Proposal, error) {
	files, err := call.Host.Look(ctx, modules.Query{Path: args.Src, Follow: true, Content: maxSlurped})
	if err != nil {
		return nil, err
	}
	f := files[0]
	switch {
	case f.Kind == modules.Missing:
		return nil, &modules.FileError{Op: "read", Path: args.Src, Kind: fs.ErrNotExist, Text: "there is no such file on the host"}
	case f.Kind != modules.Regular:
		return nil, fmt.Errorf("%s is a %s; slurp reads files", args.Src, f.Kind)
	case f.Truncated:
		return nil, fmt.Errorf("%s has %d bytes, more than the %d that a variable takes; use fetch", args.Src, f.Size, maxSlurped)
	}
	return &modules.Proposal{Output: slurped{args.Src, base64.StdEncoding.EncodeToString(f.Content), "base64"}}, nil
}
