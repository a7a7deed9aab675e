package system

import (
	"strings"

	"github.com/pegbook/pegbook/modules"
)

// adminPath is where administrators' programs are; ordinary users' PATH often leaves it out.
const adminPath = "PATH=$PATH:/usr/sbin:/sbin; export PATH; "

// script runs several commands one after the other in one round trip and stops at the first that fails.
// Each word is quoted, so that none is parsed by the shell. Words show in the host's process list: a
// secret goes to standard input or the environment.
func script(commands ...[]string) modules.Command {
	lines := make([]string, len(commands))
	for i, words := range commands {
		lines[i] = quoteAll(words)
	}
	return shell(strings.Join(lines, "\n"))
}

// shell runs a script that is already quoted.
func shell(text string) modules.Command {
	return modules.Command{Argv: []string{"/bin/sh", "-c", "set -e; " + adminPath + "\n" + text},
		Env: map[string]string{"LC_ALL": "C"}}
}

// quoteAll makes one line of words that a shell reads as these words.
func quoteAll(words []string) string {
	quoted := make([]string, len(words))
	for i, word := range words {
		quoted[i] = quote(word)
	}
	return strings.Join(quoted, " ")
}

// quote protects one word from a shell, and leaves it as it is where nothing needs protection.
func quote(word string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:,@%+="
	if word != "" && strings.Trim(word, plain) == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
