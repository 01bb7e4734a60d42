package runner

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"fresnel/internal/beam"
	"fresnel/internal/coder"
	"fresnel/runner/engine"
	"fresnel/runner/store"
	"fresnel/runner/window"
)

// rest is the values of a hot key that are not in its element: pages, which are
// blocks of the store. The element has a token in their place, by which a harness
// asks for them, as often as it likes.
//
//	grouping ──values──▶ pages ◀─────── state requests ─── harness
//	    └──element with token──▶ block ──▶ bundle ──▶ commit: the block is freed, and,
//	                                                  with the last that has the token, the pages (I8)
type rest struct {
	all   *rests
	token string
	pages []engine.BlockID
	// blocks counts those that have an element with the token.
	blocks int
}

// Page takes the next page.
func (r *rest) Page(values []byte) {
	r.pages = append(r.pages, engine.BlockID(r.all.job.store.AddBlock(values)))
}

// Token is what the element has in place of the pages.
func (r *rest) Token() []byte { return []byte(r.token) }

// rests are a job's; the zero value has none. Methods are safe for concurrent use.
type rests struct {
	job *job

	mu      sync.Mutex
	begun   int
	byToken map[string]*rest
	byBlock map[engine.BlockID][]*rest
}

// begin makes an empty one. Tokens are not given twice, by no process and no job:
// elements go from one to the other.
func (a *rests) begin() window.Rest {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.begun++
	return &rest{all: a, token: fmt.Sprintf("%s/%d/%d", a.job.sub.ID, a.job.owner(), a.begun)}
}

// bind notes that a block has elements with the tokens of some rests. In a durable
// job that is written ahead of the commit that refers to the block.
func (a *rests) bind(block engine.BlockID, all []*rest) {
	if len(all) == 0 {
		return
	}
	a.know(block, all)
	if a.job.journal != nil {
		var b store.Batch
		b.Note(restKey(block), appendRests(nil, all))
		_ = a.job.store.Apply(&b) // a store that fails will fail the next commit
	}
}

func (a *rests) know(block engine.BlockID, all []*rest) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.byBlock == nil {
		a.byToken, a.byBlock = map[string]*rest{}, map[engine.BlockID][]*rest{}
	}
	for _, r := range all {
		a.byToken[r.token] = r
		r.blocks++
	}
	a.byBlock[block] = slices.Clone(all)
}

// of are those whose tokens a block has.
func (a *rests) of(block engine.BlockID) []*rest {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.byBlock[block]
}

// free lets go of what only a block refers to that is freed by a batch.
func (a *rests) free(b *store.Batch, block engine.BlockID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	all, ok := a.byBlock[block]
	if !ok {
		return
	}
	delete(a.byBlock, block)
	if a.job.journal != nil {
		b.Unnote(restKey(block))
	}
	for _, r := range all {
		if r.blocks--; r.blocks > 0 {
			continue
		}
		delete(a.byToken, r.token)
		for _, id := range r.pages {
			b.Free(uint64(id))
		}
	}
}

// page answers a harness: a page, and what to ask for the next one with.
func (a *rests) page(token, from []byte) (data, next []byte, err error) {
	a.mu.Lock()
	r := a.byToken[string(token)]
	a.mu.Unlock()
	n := 0
	if len(from) > 0 {
		n, err = strconv.Atoi(string(from))
	}
	if r == nil || err != nil || n < 0 || n >= len(r.pages) {
		return nil, nil, &beam.Error{Code: beam.BadData, What: "a bundle asks for values of a group by a token that is not one of its elements'"}
	}
	if data = a.job.store.Block(uint64(r.pages[n])); data == nil {
		return nil, nil, &beam.Error{Code: beam.Internal, What: "values of a group cannot be read back"}
	}
	if n+1 < len(r.pages) {
		next = strconv.AppendInt(nil, int64(n+1), 10)
	}
	return data, next, nil
}

// free frees a block, and what only it refers to.
func (j *job) free(b *store.Batch, id engine.BlockID) {
	b.Free(uint64(id))
	j.rests.free(b, id)
}

// restShare is how much of the budget the values of one key may take in their
// element. It is not less than it must be: Python has a list of those, of which
// some ask the length, and reads the rest twice where it samples sizes.
const (
	restShare = 1. / 64
	leastRest = 2 << 20
	mostRest  = 64 << 20
)

// restAbove is the size above which the values of a key go to a rest.
func (m *memory) restAbove() int {
	return int(min(max(restShare*float64(m.budget.Limit()), leastRest), mostRest))
}

// restsOf is what a grouping's shards begin a rest with, nil where the readers of
// its panes take no tokens.
func (j *job) restsOf(s *stage) (func() window.Rest, error) {
	kv, err := j.coders.coder(s.plan.Outputs[paneOutput].Coder)
	if err != nil || kv.Kind() != coder.KindKV || kv.Component(1).Kind() != coder.KindStateBackedIterable {
		return nil, err
	}
	return j.rests.begin, nil
}

// A note of a durable job for each block with tokens:
//
//	key     value
//	block   for each rest: token, count of pages, their ids
func restKey(block engine.BlockID) string {
	return string(binary.BigEndian.AppendUint64([]byte(noteRest), uint64(block)))
}

func appendRests(dst []byte, all []*rest) []byte {
	for _, r := range all {
		dst = appendField(dst, r.token)
		dst = binary.AppendUvarint(dst, uint64(len(r.pages)))
		for _, id := range r.pages {
			dst = binary.AppendUvarint(dst, uint64(id))
		}
	}
	return dst
}

// parse reads a note. Blocks with the same token have the same rest.
func (a *rests) parse(row []byte) ([]*rest, error) {
	var all []*rest
	for f := (fields{b: row}); len(f.b) > 0; {
		token, pages := string(f.bytes()), f.uint()
		if f.bad || pages > uint64(len(f.b)) {
			return nil, badNote("the values of a hot key")
		}
		r := &rest{all: a, token: token}
		for range pages {
			r.pages = append(r.pages, engine.BlockID(f.uint()))
		}
		if f.bad {
			return nil, badNote("the values of a hot key")
		}
		if known := a.byToken[token]; known != nil {
			r = known
		}
		all = append(all, r)
	}
	return all, nil
}

// recoverRests reads those of the blocks that are pending, whose pages are then
// known too, and removes the others.
func (l *journal) recoverRests(known map[engine.BlockID]bool) error {
	var b store.Batch
	var pages []engine.BlockID
	err := l.disk.Notes(noteRest, noteRest+"\xff", func(key string, row []byte) error {
		if len(key) != len(noteRest)+8 {
			return badNote("the values of a hot key")
		}
		block := engine.BlockID(binary.BigEndian.Uint64([]byte(key[len(noteRest):])))
		if !known[block] {
			b.Unnote(key)
			return nil
		}
		all, err := l.job.rests.parse(row)
		for _, r := range all {
			pages = append(pages, r.pages...)
		}
		l.job.rests.know(block, all)
		return err
	})
	if err != nil {
		return err
	}
	for _, id := range pages {
		known[id] = true
	}
	if l.job.runner.readOnly {
		return nil
	}
	return l.disk.Apply(&b)
}
