package vault

import (
	"slices"
	"sync"

	"github.com/pegbook/pegbook/runner/secret"
)

// Keyring holds the passwords of a run. It opens what any of them fits, and knows the set of secrets that
// what comes out of a vault belongs to. It is safe for concurrent use; a nil Keyring has no password.
type Keyring struct {
	keys    []Key
	secrets *secret.Set

	mu      sync.Mutex // guards derived
	derived map[lock]*derivation
}

// lock is a salt, and which password is tried on it.
type lock struct {
	salt string
	key  int
}

type derivation struct {
	once sync.Once
	material
	err error
}

// maxDerived bounds the keys that are remembered: one costs some milliseconds to derive and 200 bytes to keep.
const maxDerived = 10_000

// NewKeyring makes a keyring of passwords, in the order in which they are tried. secrets learns what comes out of
// vaults; nil is a set of the keyring's own.
func NewKeyring(secrets *secret.Set, keys ...Key) *Keyring {
	if secrets == nil {
		secrets = &secret.Set{}
	}
	k := &Keyring{keys: slices.Clone(keys), secrets: secrets, derived: map[lock]*derivation{}}
	for i := range k.keys {
		if k.keys[i].ID == "" {
			k.keys[i].ID = DefaultID
		}
		secrets.Add(string(k.keys[i].Password))
	}
	return k
}

// Secrets is the set that what comes out of vaults is added to; nil, which takes none, of a nil Keyring.
func (k *Keyring) Secrets() *secret.Set {
	if k == nil {
		return nil
	}
	return k.secrets
}

// Empty says whether there is no password.
func (k *Keyring) Empty() bool { return k == nil || len(k.keys) == 0 }

// Key gives the password to encrypt with: that of an id, or with "" the first. False: there is none.
func (k *Keyring) Key(id string) (Key, bool) {
	if k.Empty() {
		return Key{}, false
	}
	if id == "" {
		return k.keys[0], true
	}
	i := slices.IndexFunc(k.keys, func(key Key) bool { return key.ID == id })
	if i < 0 {
		return Key{}, false
	}
	return k.keys[i], true
}

// IDs are the ids of the passwords, each once, in order.
func (k *Keyring) IDs() []string {
	var ids []string
	if k != nil {
		for _, key := range k.keys {
			if !slices.Contains(ids, key.ID) {
				ids = append(ids, key.ID)
			}
		}
	}
	return ids
}

// Open decrypts a text. All passwords are tried, those whose id the text names first, because the id is not
// authenticated. Errors are *FormatError and *PasswordError.
func (k *Keyring) Open(text []byte) ([]byte, error) {
	e, err := parse(text)
	if err != nil {
		return nil, err
	}
	wrong := &PasswordError{ID: e.id}
	if k == nil {
		return nil, wrong
	}
	for _, i := range k.order(e.id) {
		m, err := k.derive(i, e.salt)
		if err != nil {
			return nil, err
		}
		plain, fits, err := e.open(m)
		if fits || err != nil {
			return plain, err
		}
		if id := k.keys[i].ID; !slices.Contains(wrong.Tried, id) {
			wrong.Tried = append(wrong.Tried, id)
		}
	}
	return nil, wrong
}

// Opener gives the password that opens a text. False: none does.
func (k *Keyring) Opener(text []byte) (Key, bool) {
	e, err := parse(text)
	if err != nil || k == nil {
		return Key{}, false
	}
	for _, i := range k.order(e.id) {
		m, err := k.derive(i, e.salt)
		if err != nil {
			return Key{}, false
		}
		if _, fits, _ := e.open(m); fits {
			return k.keys[i], true
		}
	}
	return Key{}, false
}

// order is the passwords in the order to try them on a text that names an id.
func (k *Keyring) order(id string) []int {
	if id == "" {
		id = DefaultID
	}
	var first, rest []int
	for i, key := range k.keys {
		if key.ID == id {
			first = append(first, i)
		} else {
			rest = append(rest, i)
		}
	}
	return append(first, rest...)
}

// derive works a key out once: hosts that use the same file do not pay for it again.
func (k *Keyring) derive(i int, salt []byte) (material, error) {
	at := lock{string(salt), i}
	k.mu.Lock()
	d := k.derived[at]
	if d == nil {
		if len(k.derived) >= maxDerived {
			clear(k.derived)
		}
		d = &derivation{}
		k.derived[at] = d
	}
	k.mu.Unlock()
	d.once.Do(func() { d.material, d.err = derive(k.keys[i].Password, salt) })
	return d.material, d.err
}
