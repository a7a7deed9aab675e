package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pegbook/pegbook/runner/diag"
)

// friendly makes a command and those below it answer a wrong command line in one line that says what to
// write.
func friendly(cmd *cobra.Command) {
	cmd.SetFlagErrorFunc(flagProblem)
	if cmd.HasSubCommands() {
		if cmd.RunE == nil && cmd.Run == nil {
			cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		}
		cmd.Args = knownVerb
	} else if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error { return argsProblem(cmd, args, check(cmd, args)) }
	}
	for _, sub := range cmd.Commands() {
		friendly(sub)
	}
}

// knownVerb refuses what is no verb below a command.
func knownVerb(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			names = append(append(names, sub.Name()), sub.Aliases...)
		}
	}
	return fmt.Errorf("there is no verb %q; %s", args[0], suggest(cmd, diag.Nearest(args[0], names), "lists them"))
}

// ofRun says whether pegbook run has a flag, by its name or letter.
func ofRun(flag string) bool {
	f := runCommand(&app{}, &runOptions{selectOptions: selectOptions{inputs: &inputs{}}}).Flags()
	return f.Lookup(flag) != nil || len(flag) == 1 && f.ShorthandLookup(flag) != nil
}

// flagProblem says what is wrong with a flag.
func flagProblem(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var noValue *pflag.ValueRequiredError
	var wrong *pflag.InvalidValueError
	switch {
	case errors.As(err, &unknown) && cmd.Name() == "resume" && ofRun(unknown.GetSpecifiedName()):
		return fmt.Errorf("%s takes no arguments of pegbook run: %s", cmd.CommandPath(), argumentsStay)
	case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() != "":
		return fmt.Errorf("%s has no flag -%s; %s", cmd.CommandPath(), unknown.GetSpecifiedName(), suggest(cmd, "", "lists them"))
	case errors.As(err, &unknown):
		near := diag.Nearest(unknown.GetSpecifiedName(), flagNames(cmd))
		if near != "" {
			near = "--" + near
		}
		return fmt.Errorf("%s has no flag --%s; %s", cmd.CommandPath(), unknown.GetSpecifiedName(), suggest(cmd, near, "lists them"))
	case errors.As(err, &noValue):
		return fmt.Errorf("--%s needs a value; %s", noValue.GetFlag().Name, suggest(cmd, "", "says which"))
	case errors.As(err, &wrong) && errors.Is(err, errNoFolder):
		return fmt.Errorf("--%s %s: %w", wrong.GetFlag().Name, wrong.GetValue(), errNoFolder)
	case errors.As(err, &wrong):
		return fmt.Errorf("--%s takes a value of type %s, not %q; %s", wrong.GetFlag().Name, wrong.GetFlag().Value.Type(), wrong.GetValue(), suggest(cmd, "", "says more"))
	}
	return fmt.Errorf("%w; %s", err, suggest(cmd, "", "says more"))
}

func flagNames(cmd *cobra.Command) []string {
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	slices.Sort(names)
	return names
}

// suggest is the nearest name where there is one, and how to get help.
func suggest(cmd *cobra.Command, near, what string) string {
	help := cmd.CommandPath() + " --help " + what
	if near == "" {
		return help
	}
	return fmt.Sprintf("did you mean %q? (%s)", near, help)
}

// argsProblem words cobra's own errors about the number of arguments.
func argsProblem(cmd *cobra.Command, args []string, err error) error {
	if err == nil {
		return nil
	}
	ofCobra := strings.HasPrefix(err.Error(), "accepts ") || strings.HasPrefix(err.Error(), "requires ") || strings.HasPrefix(err.Error(), "unknown command ")
	if !ofCobra {
		return err
	}
	path, rest, _ := strings.Cut(cmd.Use, " ")
	wanted := strings.TrimSpace(strings.TrimSuffix(cmd.CommandPath(), path) + path + " " + strings.TrimSuffix(rest, "[flags]"))
	if len(args) == 0 {
		return fmt.Errorf("something is missing; write %s", wanted)
	}
	return fmt.Errorf("%q is one too many; write %s", args[len(args)-1], wanted)
}
