package connect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"slices"
	"sync"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// identities are the user's keys, read once for all hosts of a run.
type identities struct {
	ask Prompt

	asking sync.Mutex // one question at a time

	mu     sync.Mutex // guards the rest
	files  map[string]*keyFile
	agents map[string]agent.ExtendedAgent
	secret map[string]string // passwords that were asked for
}

func newIdentities(ask Prompt) *identities {
	return &identities{ask: ask, files: map[string]*keyFile{}, agents: map[string]agent.ExtendedAgent{}, secret: map[string]string{}}
}

// keyFile is a private key.
type keyFile struct {
	path   string
	pem    []byte
	public ssh.PublicKey

	mu     sync.Mutex // guards the rest
	signer ssh.Signer // nil while it is encrypted
	err    error      // why it stays so
}

// load reads a key file; a key that is encrypted in the old format, which hides its public half,
// needs the .pub file beside it.
func (i *identities) load(path string) (*keyFile, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if k := i.files[path]; k != nil {
		return k, nil
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, &hintError{fmt.Errorf("the key cannot be read: %w", err), "ansible_ssh_private_key_file, --private-key or IdentityFile of the ssh configuration names it"}
	}
	k := &keyFile{path: path, pem: content}
	signer, err := ssh.ParsePrivateKey(content)
	var locked *ssh.PassphraseMissingError
	switch {
	case err == nil:
		k.signer, k.public = signer, signer.PublicKey()
	case errors.As(err, &locked):
		k.public = locked.PublicKey
		if k.public == nil {
			if k.public, err = publicHalf(path + ".pub"); err != nil {
				return nil, fmt.Errorf("key %s is encrypted and its public half is not beside it: %w", path, err)
			}
		}
	default:
		return nil, fmt.Errorf("key %s: %w", path, err)
	}
	i.files[path] = k
	return k, nil
}

func publicHalf(path string) (ssh.PublicKey, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(content)
	return key, err
}

// lockedKey is an encrypted key that asks for its passphrase when a host has accepted the public half,
// not before.
type lockedKey struct {
	*keyFile
	ask func(question string) (string, error) // nil: there is nobody to ask
}

var _ ssh.AlgorithmSigner = (*lockedKey)(nil)

// PublicKey implements ssh.Signer.
func (k *lockedKey) PublicKey() ssh.PublicKey { return k.public }

// Sign implements ssh.Signer.
func (k *lockedKey) Sign(rand io.Reader, data []byte) (*ssh.Signature, error) {
	return k.SignWithAlgorithm(rand, data, "")
}

// SignWithAlgorithm implements ssh.AlgorithmSigner, without which RSA keys would sign with SHA-1.
func (k *lockedKey) SignWithAlgorithm(rand io.Reader, data []byte, algorithm string) (*ssh.Signature, error) {
	signer, err := k.unlock()
	if err != nil {
		return nil, err
	}
	if a, ok := signer.(ssh.AlgorithmSigner); ok {
		return a.SignWithAlgorithm(rand, data, algorithm)
	}
	return signer.Sign(rand, data)
}

// unlock asks once for all hosts, and once only where the passphrase was not known.
func (k *lockedKey) unlock() (ssh.Signer, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.signer != nil || k.err != nil {
		return k.signer, k.err
	}
	if k.ask == nil {
		k.err = fmt.Errorf("key %s needs a passphrase and there is nobody to ask; add it to an agent: ssh-add %s", k.path, k.path)
		return nil, k.err
	}
	question := "Passphrase for " + k.path + ": "
	var wrong error
	for range 3 {
		text, err := k.ask(question)
		if err != nil {
			return nil, fmt.Errorf("passphrase for %s: %w", k.path, err)
		}
		if k.signer, wrong = ssh.ParsePrivateKeyWithPassphrase(k.pem, []byte(text)); wrong == nil {
			return k.signer, nil
		}
		question = "That was not it. Passphrase for " + k.path + ": "
	}
	k.err = fmt.Errorf("key %s: %w", k.path, wrong)
	return nil, k.err
}

// usable is the key as it is, or with the means to ask for its passphrase.
func (k *keyFile) usable(ask func(string) (string, error)) (signer ssh.Signer, locked bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.signer != nil {
		return k.signer, false
	}
	return &lockedKey{k, ask}, true
}

func (i *identities) question(ctx context.Context, text string) (string, error) {
	i.asking.Lock()
	defer i.asking.Unlock()
	return i.ask(ctx, text)
}

// agentAt connects to an agent once; a socket that nobody serves is no agent.
func (i *identities) agentAt(socket string) agent.ExtendedAgent {
	i.mu.Lock()
	defer i.mu.Unlock()
	if a, ok := i.agents[socket]; ok {
		return a
	}
	var a agent.ExtendedAgent
	if conn, err := net.Dial("unix", socket); err == nil {
		a = agent.NewClient(conn)
	}
	i.agents[socket] = a
	return a
}

// methods are the ways to log in to one host, in the order in which they are tried.
func (i *identities) methods(ctx context.Context, t *route) []ssh.AuthMethod {
	methods := []ssh.AuthMethod{ssh.PublicKeysCallback(func() ([]ssh.Signer, error) { return i.signers(ctx, t) })}
	if t.password != "" || i.ask != nil {
		password := func() (string, error) { return i.password(ctx, t) }
		methods = append(methods, ssh.PasswordCallback(password),
			ssh.KeyboardInteractive(func(_, _ string, questions []string, echos []bool) ([]string, error) {
				answers := make([]string, len(questions))
				for n := range questions {
					if echos[n] {
						return nil, fmt.Errorf("the host asks %q, which is no password", questions[n])
					}
					var err error
					if answers[n], err = password(); err != nil {
						return nil, err
					}
				}
				return answers, nil
			}))
	}
	return methods
}

func (i *identities) password(ctx context.Context, t *route) (string, error) {
	if t.password != "" {
		return t.password, nil
	}
	who := t.user + "@" + t.address()
	i.asking.Lock()
	defer i.asking.Unlock()
	i.mu.Lock()
	known, ok := i.secret[who]
	i.mu.Unlock()
	if ok {
		return known, nil
	}
	text, err := i.ask(ctx, "Password for "+who+": ")
	if err == nil {
		i.mu.Lock()
		i.secret[who] = text
		i.mu.Unlock()
	}
	return text, err
}

// signers are the keys to try: those named for the host first, because hosts give up after a few.
func (i *identities) signers(ctx context.Context, t *route) ([]ssh.Signer, error) {
	var named, locked []ssh.Signer
	var problem error
	var ask func(string) (string, error)
	if i.ask != nil {
		ask = func(text string) (string, error) { return i.question(ctx, text) }
	}
	for _, path := range t.keyFiles {
		k, err := i.load(path)
		switch {
		case errors.Is(err, fs.ErrNotExist) && !slices.Contains(t.wanted, path):
			continue
		case err != nil:
			problem = errors.Join(problem, err)
			continue
		}
		if signer, closed := k.usable(ask); closed {
			locked = append(locked, signer)
		} else {
			named = append(named, signer)
		}
	}
	var held []ssh.Signer
	if t.agent != "" && t.agent != "none" {
		if a := i.agentAt(t.agent); a != nil {
			// An agent that has gone is no reason not to try the files.
			held, _ = a.Signers()
		}
	}
	only := append(slices.Clone(named), locked...)
	if t.identitiesOnly {
		held = slices.DeleteFunc(held, func(s ssh.Signer) bool { return !contains(only, s) })
	}
	list := held
	if len(t.wanted) > 0 && !contains(held, only...) {
		list = append(named, held...)
	} else {
		list = append(list, named...)
	}
	// Encrypted files come last: an agent often holds the same key, unlocked.
	for _, k := range locked {
		if !contains(held, k) {
			list = append(list, k)
		}
	}
	if len(list) == 0 && problem != nil {
		return nil, problem
	}
	return list, nil
}

// contains says whether some of the keys is in the list.
func contains(list []ssh.Signer, keys ...ssh.Signer) bool {
	for _, key := range keys {
		public := string(key.PublicKey().Marshal())
		if slices.ContainsFunc(list, func(s ssh.Signer) bool { return string(s.PublicKey().Marshal()) == public }) {
			return true
		}
	}
	return false
}
