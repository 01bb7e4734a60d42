package jobservice

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"

	"fresnel/internal/beam"
)

// sealer encrypts what may hold passwords, with AES-256 in GCM, under a key in a
// file of its own. So a record that is copied, backed up or sent to somebody
// tells nothing as long as the key stays where it is; whoever can read the
// whole data directory can read the records.
type sealer struct {
	aead cipher.AEAD
}

const keyBytes = 32

// openSealer reads the key, or makes it.
func openSealer(path string) (*sealer, error) {
	key, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		key = make([]byte, keyBytes)
		_, _ = rand.Read(key) // never fails: crypto/rand
		err = replaceFile(path, key, true)
	case err == nil && len(key) != keyBytes:
		return nil, &beam.Error{Code: beam.Rejected, Where: path, What: "this is not a key: it is damaged",
			Cure: "put the key back from a copy; without it the jobs of the directory cannot be read, and another directory must be named"}
	case err == nil:
		err = os.Chmod(path, 0o600)
	}
	if err != nil {
		return nil, dataDirError(path, err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return &sealer{aead: aead}, err
}

// seal appends the sealed text to head; about is bound to it: nothing else
// opens it.
func (s *sealer) seal(head, text, about []byte) []byte {
	return s.aead.Seal(head, nil, text, about)
}

// open returns the text that was sealed about the same.
func (s *sealer) open(sealed, about []byte) ([]byte, error) {
	return s.aead.Open(nil, nil, sealed, about)
}
