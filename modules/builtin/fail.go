package builtin

import (
	"context"
	"errors"

	"github.com/pegbook/pegbook/modules"
)

// Fail fails.
func Fail() *modules.Module {
	return modules.Define("fail", `Fail with a message

    - name: not on this system
      fail:
        msg: "{{ .ansible_distribution }} is not supported"
      when: ne .ansible_os_family "Debian"`, proposeFail)
}

type failArgs struct {
	Msg string `arg:"msg" default:"Failed as requested from task" doc:"what to say"`
}

func proposeFail(_ context.Context, _ *modules.Call, args failArgs) (*modules.Proposal, error) {
	return nil, errors.New(args.Msg)
}
