package window

import (
	"fresnel/internal/beam"
	"fresnel/runner/store"
)

// attic has the chunks of a shard's values that are on disk, by number, so that
// cells can be written that have some. After something could not be read back it
// has failed, and the shard with it.
type attic struct {
	spill  *store.Spill
	at     map[uint64]store.Extent
	last   uint64
	bytes  int64
	buf    []byte
	failed error
}

func newAttic(s *store.Spill) *attic { return &attic{spill: s, at: map[uint64]store.Extent{}} }

// put writes a chunk, if that can be.
func (a *attic) put(data []byte) (id uint64, ok bool) {
	at, err := a.spill.Write(data)
	if err != nil {
		return 0, false
	}
	a.last++
	a.at[a.last] = at
	a.bytes += int64(at.Size())
	return a.last, true
}

// load returns the bytes of a chunk, valid until the next call.
func (a *attic) load(c chunk) []byte {
	if c.id == 0 {
		return c.data
	}
	data, err := a.spill.Read(a.at[c.id], a.buf)
	if err != nil {
		a.fail(err)
		return nil
	}
	a.buf = data
	return data
}

// free gives up a chunk that nobody will read again.
func (a *attic) free(c chunk) {
	if at, ok := a.at[c.id]; ok {
		delete(a.at, c.id)
		a.bytes -= int64(at.Size())
		a.spill.Free(at)
	}
}

func (a *attic) fail(err error) {
	if a.failed == nil {
		a.failed = &beam.Error{Code: beam.Internal, What: "what a GroupByKey keeps on disk is lost", Cause: err}
	}
}
