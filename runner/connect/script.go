package connect

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// script finds the helper in the user's cache, or asks for it, checks it and becomes it. It runs in a
// POSIX shell, as an argument that any login shell passes on untouched: hence no line breaks, no single
// quotes, no backslashes and no exclamation marks in it. What it says begins with the mark, $1, so that
// the chatter of start-up files cannot be mistaken for it.
//
//	$1 mark  $2 $3 sums, $4 $5 compressed sizes, $6 $7 "CRC size", of amd64 and arm64
//	$8 folder for the cache, may be empty  $9 seconds the helper lives without hearing from us
//
// What arrives is checked by its SHA-256. A helper that is there already lies in a folder that the user
// alone can write, so all that can have befallen it is damage, and cksum's CRC shows that: a SHA-256 would
// cost each start as much CPU as logging in does.
//
// A user without a home (a service's) has the cache in a folder of its own in /var/tmp. The folder is
// entered before it is checked, and only relative names are used from then on: what was
// checked is what is used. The umask is narrow in subshells only: the helper's commands inherit the user's.
const script = `m=$1; q=$9; b=$8; ` +
	`fail() { set -f; echo "${m}error" $*; exit 1; }; ` +
	`if [ -r /proc/sys/kernel/arch ]; then read -r a </proc/sys/kernel/arch; else a=$(uname -m); fi; ` +
	`case $a in x86_64|amd64) h=$2; z=$4; k=$6;; aarch64|arm64) h=$3; z=$5; k=$7;; *) fail arch "$a";; esac; ` +
	`case $b in ` +
	`"") if [ -d "${HOME:-/none}" ] && [ -w "$HOME" ]; then d=${XDG_CACHE_HOME:-$HOME/.cache}/pegbook; ` +
	`else d=/var/tmp/pegbook-$(id -u); fi;; ` +
	`"~") d=$HOME/pegbook;; ` +
	`"~/"*) d=$HOME/${b#??}/pegbook;; ` +
	`*) d=$b/pegbook-$(id -u);; esac; ` +
	`if [ -d "$d" ]; then :; else e=$(umask 077; mkdir -p "$d" 2>&1) || fail mkdir "$d" "$e"; fi; ` +
	`cd "$d" 2>/dev/null || fail enter "$d"; ` +
	`l=$(LC_ALL=C ls -ldn . ..) || fail enter "$d"; ` +
	`check() { [ -O . ] || fail owner "$d"; ` +
	`case $1 in d????-??-*) ;; *) fail writable "$d";; esac; ` +
	`for f in "$@"; do case $f in d?????????*) o=$f;; esac; done; ` +
	`case $o in d????-??-*|d????????[tT]*) ;; *) fail parent "$d";; esac; }; ` +
	`check $l; ` +
	`f=helper-$h; ` +
	`right() { s=$(sha256sum "$1" 2>/dev/null) || fail tool sha256sum; [ "${s%% *}" = $h ]; }; ` +
	`sound() { c=$(cksum <$f 2>/dev/null) || { right $f; return; }; [ "$c" = "$k" ]; }; ` +
	`if [ -f $f ] && [ -O $f ] && sound; then exec ./$f "$m" "$q"; fi; ` +
	`t=.new-$$-$h; trap "rm -f $t" EXIT; ` +
	`if command -v gzip >/dev/null 2>&1; then echo "${m}need gzip $a"; ` +
	`e=$(umask 077; { head -c $z | gzip -dc >$t; } 2>&1) || fail write "$d" "$e"; ` +
	`else echo "${m}need plain $a"; ` +
	`e=$(umask 077; { head -c ${k#* } >$t; } 2>&1) || fail write "$d" "$e"; fi; ` +
	`right $t || fail sum "$d"; ` +
	`e=$({ chmod 700 $t && mv -f $t $f; } 2>&1) || fail write "$d" "$e"; ` +
	`find . -type f -mtime +30 -exec rm -f {} + 2>/dev/null; ` +
	`trap - EXIT; exec ./$f "$m" "$q"`

// maxNoise bounds what a login shell's start-up files may print before the script speaks.
const maxNoise = 256 << 10

// errNoise is a shell that talks and never runs what it was given.
var errNoise = errors.New("the login shell printed more than 256 KiB and did not run the helper")

// quote makes an argument of a shell command line; Bourne shells, csh and fish read it alike.
func quote(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-./:=@%+,", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'"'"'`) + "'"
}

// startLine is the command line that runs the script. prefix is what makes it run as another user.
func startLine(prefix, mark, folder string, silence int, list map[string]binary) string {
	x, y := list["amd64"], list["arm64"]
	args := []string{mark, x.sum, y.sum, strconv.Itoa(x.length), strconv.Itoa(y.length),
		x.cksum(), y.cksum(), folder, strconv.Itoa(silence)}
	var line strings.Builder
	line.WriteString("exec " + prefix + "/bin/sh -c " + quote(script) + " pegbook")
	for _, a := range args {
		line.WriteString(" " + quote(a))
	}
	return line.String()
}

// word is one thing the script says.
type word struct {
	verb string // need, hello, error
	rest string
}

// hear reads up to the next thing the script says. noise keeps the end of what came before it.
func hear(r *bufio.Reader, mark string, noise *tail) (word, error) {
	var before []byte
	for n := 0; !bytes.HasSuffix(before, []byte(mark)); n++ {
		c, err := r.ReadByte()
		if err != nil {
			noise.add(before)
			return word{}, err
		}
		if n > maxNoise {
			return word{}, errNoise
		}
		if len(before) > 8<<10 {
			noise.add(before[:len(before)-len(mark)])
			before = append(before[:0], before[len(before)-len(mark):]...)
		}
		before = append(before, c)
	}
	noise.add(before[:len(before)-len(mark)])
	var line []byte
	for {
		c, err := r.ReadByte()
		if err != nil {
			return word{}, err
		}
		if c == '\n' {
			break
		}
		if len(line) > 4<<10 {
			return word{}, errNoise
		}
		line = append(line, c)
	}
	verb, rest, _ := strings.Cut(string(line), " ")
	return word{verb, rest}, nil
}

// explain turns what the script complains of into an error with what to do about it.
func explain(rest string) (problem error, hint string) { //nolint:staticcheck // ST1008: the hint belongs to the error and is useless without it
	const elsewhere = "set ansible_remote_tmp to a folder of that user on a file system with room that allows programs"
	kind, rest, _ := strings.Cut(rest, " ")
	switch kind {
	case "arch":
		return fmt.Errorf("its processor (%s) is none that pegbook has a helper for", rest), "hosts must be linux x86_64 or aarch64"
	case "mkdir":
		return fmt.Errorf("the folder for the helper cannot be made: %s", rest), elsewhere
	case "enter":
		return fmt.Errorf("the folder for the helper cannot be entered: %s", rest), elsewhere
	case "owner":
		return fmt.Errorf("the folder for the helper, %s, belongs to another user", rest), elsewhere
	case "writable":
		return fmt.Errorf("the folder for the helper, %s, can be written by others", rest), "chmod go-w it, or " + elsewhere
	case "parent":
		return fmt.Errorf("the folder that holds %s can be written by others", rest), "chmod go-w it, or " + elsewhere
	case "tool":
		return fmt.Errorf("it has no %s", rest), "install coreutils there"
	case "sum":
		return fmt.Errorf("the helper arrived damaged in %s", rest), "try again; if it stays so, " + elsewhere
	case "write":
		if strings.Contains(rest, "No space") || strings.Contains(rest, "quota") {
			return fmt.Errorf("no room for the helper (3 MB): %s", rest), "make room, or " + elsewhere
		}
		return fmt.Errorf("the helper cannot be written: %s", rest), elsewhere
	}
	return fmt.Errorf("%s %s", kind, rest), ""
}

// tail keeps the last 2 KiB of what is added.
type tail struct{ kept []byte }

func (t *tail) add(b []byte) {
	const keep = 2 << 10
	t.kept = append(t.kept, b...)
	if n := len(t.kept) - keep; n > 0 {
		t.kept = append(t.kept[:0], t.kept[n:]...)
	}
}

// last is the last line that says something.
func (t *tail) last() string {
	lines := strings.Split(strings.TrimSpace(string(t.kept)), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}
