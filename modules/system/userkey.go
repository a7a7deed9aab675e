package system

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math/big"
	"path"
	"strconv"
	"strings"

	"github.com/pegbook/pegbook/modules"
)

// keyArgs are what user is told about the user's own SSH key.
type keyArgs struct {
	Generate   bool   `arg:"generate_ssh_key" doc:"whether the user gets an SSH key where it has none"`
	Bits       int    `arg:"ssh_key_bits" doc:"length of the key; ssh-keygen chooses when it is not given"`
	Type       string `arg:"ssh_key_type" default:"rsa" doc:"kind of the key, such as rsa, ecdsa or ed25519"`
	File       string `arg:"ssh_key_file" doc:"the key's file, absolute or in the user's home; .ssh/id_ and its type when it is not given"`
	KeyComment string `arg:"ssh_key_comment" doc:"the key's comment; \"ansible-generated on\" and the host's name when it is not given"`
	Passphrase string `arg:"ssh_key_passphrase,secret" doc:"passphrase of the key"`
}

// keyState is what user registers about the key.
type keyState struct {
	Fingerprint string `json:"ssh_fingerprint,omitempty"`
	KeyFile     string `json:"ssh_key_file,omitempty"`
	PublicKey   string `json:"ssh_public_key,omitempty"`
}

// keyFiles are a key's two files as they are.
type keyFiles struct{ private, public modules.File }

func (a keyArgs) keyPath(home string) string {
	file := a.File
	if file == "" {
		file = ".ssh/id_" + a.Type
	}
	if path.IsAbs(file) {
		return file
	}
	return path.Join(home, file)
}

// proposeKey proposes a key where there is none. Its files belong to the user.
func (u *account) proposeKey(_ context.Context, host modules.Host) error {
	if !u.Generate {
		return nil
	}
	file := u.keyPath(u.after.at(passwdHome))
	u.out.KeyFile = file
	there := u.key.private.Kind != modules.Missing || u.key.public.Kind != modules.Missing
	if there && !u.Force {
		u.out.keyState.describe(string(u.key.public.Content))
		return nil
	}
	if u.home.Kind == modules.Missing && u.File == "" {
		return fmt.Errorf("user %s has no home for its key; give create_home: true or ssh_key_file", u.Name)
	}
	comment := u.KeyComment
	if comment == "" {
		comment = "ansible-generated on " + host.Name()
	}
	generate := []string{"ssh-keygen", "-q", "-t", u.Type, "-C", comment, "-f", file}
	if u.Bits > 0 {
		generate = append(generate, "-b", strconv.Itoa(u.Bits))
	}
	owner, dir := u.after.at(2)+":"+u.after.at(passwdGroup), path.Dir(file)
	if there {
		u.commands = append(u.commands, []string{"rm", "-f", "--", file, file + ".pub"})
	}
	if u.record == nil && u.UID == nil { // the number is not known before useradd has chosen it
		owner = u.Name + ":"
	}
	u.commands = append(u.commands,
		[]string{"/bin/sh", "-c", `[ -d "$1" ] || { mkdir -m 0700 -- "$1" && chown -- "$2" "$1"; }`, "sh", dir, owner},
		append([]string{"/bin/sh", "-c", u.generator(), "sh"}, generate...),
		[]string{"chown", "--", owner, file, file + ".pub"})
	u.differs("key %s is made", file)
	private, public, folder := uint32(0o600), uint32(0o644), uint32(0o700)
	id, gid := u.after.at(2), u.after.at(passwdGroup)
	write := func(p string, mode *uint32) modules.Change {
		return modules.Change{Kind: modules.WriteFile, Path: p, Content: modules.Bytes(p, nil),
			Attributes: modules.Attributes{Owner: id, Group: gid, Mode: mode}}
	}
	if !path.IsAbs(u.File) {
		u.p.Leaves = append(u.p.Leaves, modules.Change{Kind: modules.MakeDirectory, Path: dir,
			Attributes: modules.Attributes{Owner: id, Group: gid, Mode: &folder}})
	}
	u.p.Leaves = append(u.p.Leaves, write(file, &private), write(file+".pub", &public))
	return nil
}

// generator runs ssh-keygen. A passphrase comes from the environment, by a program that ssh-keygen asks:
// as an argument it would show in the process list.
func (u *account) generator() string {
	if u.Passphrase == "" {
		return `"$@" -N ""`
	}
	return `d=$(mktemp -d) && trap 'rm -rf "$d"' EXIT && printf '#!/bin/sh\nprintf "%s\\n" "$PEGBOOK_PASSPHRASE"\n' >"$d/ask" && chmod 0700 "$d/ask" && SSH_ASKPASS="$d/ask" SSH_ASKPASS_REQUIRE=force DISPLAY=none setsid -w "$@" </dev/null`
}

// readKey reads the public key that was made.
func (u *account) readKey(ctx context.Context, host modules.Host) error {
	if !u.Generate || u.out.PublicKey != "" {
		return nil
	}
	files, err := host.Look(ctx, modules.Query{Path: u.out.KeyFile + ".pub", Follow: true, Content: 1 << 16})
	if err != nil {
		return err
	}
	u.out.keyState.describe(string(files[0].Content))
	return nil
}

// describe fills in the public key and its fingerprint, as ssh-keygen -l prints it.
func (s *keyState) describe(public string) {
	s.PublicKey = strings.TrimSpace(public)
	fields := strings.SplitN(s.PublicKey, " ", 3)
	if len(fields) < 2 {
		return
	}
	blob, err := base64.StdEncoding.DecodeString(fields[1])
	if err != nil {
		return
	}
	comment := "no comment"
	if len(fields) == 3 {
		comment = fields[2]
	}
	sum := sha256.Sum256(blob)
	bits, kind := keyKind(fields[0], blob)
	s.Fingerprint = fmt.Sprintf("%d SHA256:%s %s (%s)", bits, base64.RawStdEncoding.EncodeToString(sum[:]), comment, kind)
}

// keyKind is a key's length in bits and the name of its kind.
func keyKind(name string, blob []byte) (bits int, kind string) {
	switch {
	case name == "ssh-ed25519":
		return 256, "ED25519"
	case strings.HasPrefix(name, "ecdsa-sha2-nistp"):
		bits, _ = strconv.Atoi(strings.TrimPrefix(name, "ecdsa-sha2-nistp"))
		return bits, "ECDSA"
	case name != "ssh-rsa":
		return 0, strings.ToUpper(strings.TrimPrefix(name, "ssh-"))
	}
	// The name, the exponent, the modulus: each with its length before it.
	var last []byte
	for range 3 {
		if len(blob) < 4 || uint64(len(blob)-4) < uint64(binary.BigEndian.Uint32(blob)) {
			return 0, "RSA"
		}
		n := binary.BigEndian.Uint32(blob)
		last, blob = blob[4:4+n], blob[4+n:]
	}
	return new(big.Int).SetBytes(last).BitLen(), "RSA"
}
