package builtin

import (
	"context"
	"crypto/md5"  //nolint:gosec // what a task asks for, to compare with what others published
	"crypto/sha1" //nolint:gosec // as above
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"strings"

	"github.com/pegbook/pegbook/modules"
)

// newHash gives a hash by the name that Ansible has for it; nil: there is none.
func newHash(algorithm string) hash.Hash {
	switch algorithm {
	case "md5":
		return md5.New() //nolint:gosec // as above
	case "sha1":
		return sha1.New() //nolint:gosec // as above
	case "sha224":
		return sha256.New224()
	case "sha256":
		return sha256.New()
	case "sha384":
		return sha512.New384()
	case "sha512":
		return sha512.New()
	}
	return nil
}

// digestOn is the checksum of a file of a host. Only SHA-256 is something that the host itself can be asked
// for; for the others it runs coreutils' programs. A file that only check mode has is read instead.
func digestOn(ctx context.Context, host modules.Host, algorithm, p string) (string, error) {
	if algorithm == "sha256" {
		files, err := host.Look(ctx, modules.Query{Path: p, Follow: true, Sum: true})
		if err != nil {
			return "", err
		}
		return files[0].Sum, nil
	}
	out, err := host.Run(ctx, modules.Command{Argv: []string{algorithm + "sum", p}, ReadOnly: true})
	if errors.Is(err, modules.ErrUnpredicted) {
		return digestOfContent(ctx, host, algorithm, p)
	}
	if err != nil {
		return "", fmt.Errorf("checksum of %s: %w", p, err)
	}
	// A name with a backslash or a line break makes the line begin with a backslash.
	sum, _, _ := strings.Cut(strings.TrimPrefix(string(out.Stdout), `\`), " ")
	if h := newHash(algorithm); len(sum) != 2*h.Size() {
		return "", fmt.Errorf("checksum of %s: %ssum on the host answers %q", p, algorithm, firstLine(string(out.Stdout)))
	}
	return sum, nil
}

func digestOfContent(ctx context.Context, host modules.Host, algorithm, p string) (string, error) {
	files, err := host.Look(ctx, modules.Query{Path: p, Follow: true, Content: maxEdited})
	if err != nil {
		return "", err
	}
	if files[0].Truncated {
		return "", modules.ErrUnpredicted
	}
	h := newHash(algorithm)
	h.Write(files[0].Content)
	return hex.EncodeToString(h.Sum(nil)), nil
}
