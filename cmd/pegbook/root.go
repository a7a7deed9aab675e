package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/render"
	"github.com/pegbook/pegbook/runner/secret"
)

// version is set by the linker (make build).
var version = "dev"

// streams are where a verb reads and writes. Answers go to out, talk to err.
type streams struct {
	in  io.Reader
	out io.Writer
	err io.Writer
}

// terminal is the file behind a stream when that is a terminal.
func terminal(stream any) (*os.File, bool) {
	f, ok := stream.(*os.File)
	return f, ok && term.IsTerminal(int(f.Fd()))
}

// color says whether to colour what goes to a stream: only a terminal, and not where NO_COLOR is set.
func color(stream any) bool {
	_, ok := terminal(stream)
	return ok && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// cleaned is where text goes in which there may be words of hosts, inventories and playbooks: their control characters
// are written out.
type cleaned struct{ io.Writer }

func (c cleaned) Write(b []byte) (int, error) {
	if _, err := io.WriteString(c.Writer, render.Clean(string(b), true)); err != nil {
		return 0, err
	}
	return len(b), nil
}

// app is what verbs share: streams and interrupts.
type app struct {
	streams
	attention attention
	args      []string // as typed
	// secrets are masked in whatever the program shows.
	secrets *secret.Set
	// plugins are those that were started; they end with the program.
	plugins *pluginHouse
}

// look is how problems are shown.
func (a *app) look() render.Options { return render.Options{Color: color(a.err), Secrets: a.secrets} }

// run is the whole program but for the process: tests and scripts call it.
func run(ctx context.Context, args []string, s streams, interrupts <-chan os.Signal) int {
	a := &app{streams: s, args: args, secrets: &secret.Set{}, plugins: &pluginHouse{}}
	defer a.plugins.close() //nolint:errcheck // whatever is left of a plugin ends with this process
	root := newRootCmd(a)
	root.SetArgs(args)
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
	ctx, end := a.attend(ctx, interrupts)
	defer end()
	err := root.ExecuteContext(ctx)
	if err != nil && errors.Is(context.Cause(ctx), errInterrupted) {
		err = errInterrupted // whatever it has led to
	}
	return a.outcome(err)
}

func newRootCmd(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "pegbook",
		Short: "Run playbooks on Pegasus, StarRocks, Druid and ZooKeeper clusters",
		Long: `pegbook carries out YAML playbooks on the hosts of an inventory, over SSH.

  pegbook run playbooks/rolling-update.yml -i prod.yml --check --diff
  pegbook run playbooks/rolling-update.yml -i prod.yml`,
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetVersionTemplate("pegbook {{.Version}}\n")
	root.AddCommand(
		newRunCmd(a),
		newRunsCmd(a),
		newValidateCmd(a),
		newGraphCmd(a),
		newLocksCmd(a),
		newInventoryCmd(a),
		newVarsCmd(a),
		newVaultCmd(a),
		newModulesCmd(a),
		newPluginCmd(a),
		newFunctionsCmd(a),
		newKeywordsCmd(a),
		newSchemaCmd(a),
		newLabCmd(a),
		newDocsCmd(),
	)
	friendly(root)
	return root
}

// exitError ends the program with a code and nothing more to say.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// outcome is the only place where an error becomes text and an exit code.
func (a *app) outcome(err error) int {
	var exit exitError
	var problems diag.List
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return int(exit)
	case errors.Is(err, errInterrupted):
		fmt.Fprintf(a.err, "\npegbook: %s\n", err)
		return 130
	case errors.As(err, &problems):
		render.Diagnostics(a.err, problems, a.look())
	default:
		fmt.Fprintf(cleaned{a.err}, "pegbook: %s\n", a.secrets.Text(err.Error()))
	}
	return 1
}
