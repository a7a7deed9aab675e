package connect

import (
	"errors"
	"fmt"
	"strings"
)

// BecomeError is a host that was reached, where the user asked for cannot be become. To the host's
// connection nothing has happened.
type BecomeError struct {
	Host string
	// User is who was to be become, Method how.
	User, Method string
	// Hint says what to do about it, where that is known.
	Hint string
	Err  error
}

// Error names the host, the user and the cause, with the hint behind it.
func (e *BecomeError) Error() string {
	text := fmt.Sprintf("%s: cannot become %s with %s: %v", e.Host, e.User, e.Method, e.Err)
	if e.Hint != "" {
		text += "; " + e.Hint
	}
	return text
}

// Unwrap gives the cause.
func (e *BecomeError) Unwrap() error { return e.Err }

func (b Become) method() string {
	if b.Method == "" {
		return "sudo"
	}
	return b.Method
}

// key tells helpers of one connection apart; the password is part of it, so that a better one is tried.
func (b Become) key() string {
	if b.User == "" {
		return ""
	}
	return strings.Join([]string{b.User, b.method(), b.Exe, b.Flags, b.Password}, "\x00")
}

// prompt is the question that the method asks before it reads the password, as the end of what it has
// written to its error output. su words its own.
func (b Become) prompt(mark string) string {
	if b.method() == "sudo" {
		return mark + "password"
	}
	return "assword:"
}

// prefix makes the rest of a shell command line run as the user. Flags are the user's own words for the
// shell, as in Ansible.
func (b Become) prefix(mark string) (string, error) {
	exe, flags := b.Exe, b.Flags
	if exe == "" {
		exe = b.method()
	}
	if flags != "" {
		flags += " "
	}
	switch b.method() {
	case "sudo":
		ask := "-n "
		if b.Password != "" {
			ask = "-S -p " + quote(b.prompt(mark)) + " "
		}
		// -H: the helper is kept in the home of the user that is become.
		return quote(exe) + " " + ask + "-H " + flags + "-u " + quote(b.User) + " -- ", nil
	case "doas":
		if b.Password != "" {
			return "", errors.New("doas reads passwords from a terminal only")
		}
		return quote(exe) + " -n " + flags + "-u " + quote(b.User) + " -- ", nil
	}
	return "", fmt.Errorf("unknown method %q", b.Method)
}

// line is the command line that starts the helper as the user.
func (b Become) line(mark, folder string, silence int, list map[string]binary) (string, error) {
	if b.User == "" {
		return startLine("", mark, folder, silence, list), nil
	}
	if b.method() != "su" {
		prefix, err := b.prefix(mark)
		return startLine(prefix, mark, folder, silence, list), err
	}
	// su takes a command line, not arguments.
	exe, flags := b.Exe, b.Flags
	if exe == "" {
		exe = "su"
	}
	if flags != "" {
		flags += " "
	}
	return "exec " + quote(exe) + " - " + flags + quote(b.User) + " -s /bin/sh -c " + quote(startLine("", mark, folder, silence, list)), nil
}

// complaint is what a method says, in a piece of it, and what that means.
type complaint struct {
	piece, problem, hint string // problem "" is what the method said
}

// diagnose makes an error of what the method wrote before it gave up.
func (b Become) diagnose(text string) (problem, hint string) {
	password := "give it with --ask-become-pass or ansible_become_password, or allow " + b.method() + " without one"
	allow := "allow the login user " + b.method() + " to " + b.User + " for /bin/sh"
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for _, line := range lines {
		for _, c := range []complaint{
			{"password is required", "a password is needed", password},
			{"a terminal is required", "a password is needed", password},
			{"must be run from a terminal", "a password is needed", password},
			{"Authorization required", "a password is needed", password},
			{"Sorry, try again", errWrongPassword.Error(), ""},
			{"incorrect password", errWrongPassword.Error(), ""},
			{"Authentication failure", errWrongPassword.Error(), ""},
			{"not in the sudoers", "", allow},
			{"not allowed", "", allow},
			{"may not run", "", allow},
			{"Operation not permitted", "", allow},
			{"have a tty", "", "remove requiretty from sudoers"},
			{"unknown user", "", "is there such a user on the host?"},
			{"does not exist", "", "is there such a user on the host?"},
			{"not found", "", "is " + b.method() + " installed there?"},
			{"No such file", "", "is " + b.method() + " installed there?"},
		} {
			if strings.Contains(line, c.piece) {
				return or(c.problem, strings.TrimSpace(line)), c.hint
			}
		}
	}
	return strings.TrimSpace(lines[len(lines)-1]), ""
}
