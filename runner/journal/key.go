package journal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const keyFile = "key"

// ErrSealed is what a journal holds that cannot be read with the key of its home.
var ErrSealed = errors.New("it is sealed with another key than the one in the journal's home")

// key seals what may hold secrets. It lies in the home, readable by its owner alone: whoever gets hold of one run's
// folder (a copy, a backup, a bug report) reads nothing private in it.
type key struct {
	bytes []byte
	aead  cipher.AEAD
}

// readKey gives the key of a home, which is made when there is none.
func readKey(home string) (*key, error) {
	path := filepath.Join(home, keyFile)
	raw, err := readOwn(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = makeKey(home, path); err == nil {
			raw, err = readOwn(path)
		}
	}
	if err != nil {
		return nil, err
	}
	if len(raw) != 32 {
		return nil, fmt.Errorf("%s has %d bytes, not 32: it is not a key of pegbook; put the right one back, or remove it to begin a new one (what older journals have sealed is lost then)", path, len(raw))
	}
	block, err := aes.NewCipher(raw)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	return &key{bytes: raw, aead: aead}, nil
}

// makeKey makes a key. Of two that are made at once one stays: a link never replaces a file.
func makeKey(home, path string) error {
	temp, err := os.CreateTemp(home, ".key-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name()) //nolint:errcheck // a second name of the key, or an empty file
	raw := make([]byte, 32)
	rand.Read(raw) //nolint:errcheck // it never fails
	_, err = temp.Write(raw)
	if err = errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return err
	}
	if err := os.Link(temp.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncFolder(home)
}

// sealer is what seals the entries of a run.
func (h *Home) sealer(run string) *sealer { return &sealer{h.key, run} }

// seal encrypts a text for one place: moved to another it does not open.
func (k *key) seal(place string, text []byte) []byte {
	nonce := make([]byte, k.aead.NonceSize(), k.aead.NonceSize()+len(text)+k.aead.Overhead())
	rand.Read(nonce) //nolint:errcheck // it never fails
	return k.aead.Seal(nonce, nonce, text, []byte(place))
}

// unseal gives the text that was sealed for a place.
func (k *key) unseal(place string, sealed []byte) ([]byte, error) {
	n := k.aead.NonceSize()
	if len(sealed) < n {
		return nil, ErrSealed
	}
	text, err := k.aead.Open(nil, sealed[:n], sealed[n:], []byte(place))
	if err != nil {
		return nil, ErrSealed
	}
	return text, nil
}

// digest is what stands for a text that could be guessed.
func (k *key) digest(text []byte) string {
	m := hmac.New(sha256.New, k.bytes)
	m.Write(text)
	return "hmac:" + hex.EncodeToString(m.Sum(nil))
}
