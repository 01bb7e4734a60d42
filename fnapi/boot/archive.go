package boot

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// contentDigest is a hash of what is in a source archive. The client packs one
// anew for each job, and the archive has the time of that in it: its own hash
// would be another one each time. Anything else gives its own hash, otherwise.
func contentDigest(path, otherwise string) string {
	if !strings.HasSuffix(path, ".tar.gz") {
		return otherwise
	}
	f, err := os.Open(path)
	if err != nil {
		return otherwise
	}
	defer f.Close()
	members, err := digestMembers(f)
	if err != nil {
		return otherwise
	}
	slices.Sort(members)
	sum := sha256.Sum256([]byte(strings.Join(members, "\n")))
	return hex.EncodeToString(sum[:])
}

func digestMembers(r io.Reader) (members []string, err error) {
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, err
	}
	for archive := tar.NewReader(z); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return members, nil
		}
		if err != nil {
			return nil, err
		}
		content := sha256.New()
		if _, err := io.Copy(content, archive); err != nil {
			return nil, err
		}
		members = append(members, fmt.Sprintf("%q %c %q %o %x", h.Name, h.Typeflag, h.Linkname, h.Mode, content.Sum(nil)))
	}
}
