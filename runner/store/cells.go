package store

import (
	"fmt"
	"io"
	"strings"

	"github.com/cockroachdb/pebble/v2"
)

// Cells tells how long the beginning of an entry's key is that names its cell:
// what is mostly read together, and where mostly nothing is. Of a cell a tree has
// filters, so that a read of it looks at the few tables that may have some of it.
// It is 0 for a key that does not begin with a whole name, and no name may begin
// with another. What is in tables depends on it: another Cells needs another
// cellOrder.
type Cells func(key []byte) int

// cellOrder is the name of the order of keys in trees with cells. Keys are in the
// order of their bytes, as they are without.
const cellOrder = "fresnel.cells.1"

// ordered tells the tree of its cells.
func (d *tree) ordered(p *pebble.Options, cells Cells) {
	if d.cells = cells; cells == nil {
		return
	}
	c := *pebble.DefaultComparer
	c.Name, c.Split = cellOrder, d.split
	p.Comparer = &c
}

// split is how long the part of a row's key is that filters know.
func (d *tree) split(key []byte) int {
	if len(key) == 0 || key[0] != diskEntry {
		return len(key)
	}
	if n := d.cells(key[1:]); n > 0 {
		return 1 + n
	}
	return len(key)
}

// inCell tells that all keys with from <= key < to are of one cell, or one key,
// which filters know.
func (d *tree) inCell(kind byte, from, to string) bool {
	if to == from+"\x00" {
		return true
	}
	if d.cells == nil || kind != diskEntry {
		return false
	}
	n := d.cells([]byte(from))
	return n > 0 && to != "" && to <= past(from[:n])
}

// past is the least key above all that begin with a cell's name.
func past(cell string) string {
	b := []byte(cell)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i]++; b[i] != 0 {
			return string(b[:i+1])
		}
	}
	return ""
}

// withoutCells tells that a directory has a tree that an earlier version made.
func withoutCells(dir string, fs FS, files []string) (bool, error) {
	newest, name := uint64(0), ""
	for _, f := range files {
		var n uint64
		if _, err := fmt.Sscanf(f, "OPTIONS-%d", &n); err == nil && n >= newest {
			newest, name = n, f
		}
	}
	if name == "" {
		return false, nil
	}
	f, err := fs.Open(fs.PathJoin(dir, name))
	if err != nil {
		return false, fmt.Errorf("opening the store: %w", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	options, err := io.ReadAll(f)
	if err != nil {
		return false, fmt.Errorf("opening the store: %w", err)
	}
	return strings.Contains(string(options), "comparer="+pebble.DefaultComparer.Name), nil
}
