package window

import (
	"math"
	"slices"

	"fresnel/internal/beam"
	"fresnel/internal/coder"
)

// A hot key: an element has the first of its values and a token, and the rest
// is given away in pages as it is found, so that nobody needs memory for all of it.
//
//	element   … key, -1, count, values, -1, token
//	pages     values │ values │ values

const (
	// restPage is about the size of a page, firstPage that of the first of a key: a
	// harness waits half a millisecond for each, whatever its size.
	restPage  = 1 << 20
	firstPage = 64 << 10
	// restOpen bounds the pages of all keys that are being filled.
	restOpen = 32 << 20
	// hotRoom is about what an iterable with a token takes beside its values.
	hotRoom = 64
)

// rests are those of the groups of a window.
type rests struct {
	// above is what a group may have in its element.
	above int
	begin func() Rest
	open  map[uint32]*openRest
	bytes int // in the pages that are being filled
}

// openRest is a rest with the page that is being filled; size is about that of
// a page.
type openRest struct {
	Rest
	page []byte
	size int
}

func newRests(out *Output) rests {
	if out.Rest == nil {
		return rests{above: math.MaxInt}
	}
	return rests{above: out.RestAbove, begin: out.Rest, open: map[uint32]*openRest{}}
}

// add adds a value to the rest of a group.
func (r *rests) add(group uint32, value []byte) {
	o := r.open[group]
	if o == nil {
		o = &openRest{Rest: r.begin(), size: firstPage}
		r.open[group] = o
	}
	if len(o.page) > 0 && len(o.page)+len(value) > restPage {
		r.bytes -= len(o.page)
		o.seal()
	}
	o.add(value)
	if r.bytes += len(value); r.bytes > restOpen {
		r.seal()
	}
}

func (o *openRest) add(values []byte) {
	if o.page == nil {
		o.page = make([]byte, 0, max(o.size, len(values)))
	}
	o.page = append(o.page, values...)
}

// seal gives away the page, if there is one.
func (o *openRest) seal() {
	if len(o.page) > 0 {
		o.Page(slices.Clip(o.page))
		o.page, o.size = nil, min(len(o.page), restPage)
	}
}

// seal gives away all pages.
func (r *rests) seal() {
	for _, o := range r.open {
		o.seal()
	}
	r.bytes = 0
}

func (r *rests) of(group uint32) Rest { return r.open[group].Rest }

// beginHot begins an iterable of which n values are in the element.
func (w *blockWriter) beginHot(n int) {
	w.buf = coder.AppendIterableCount(w.buf, -1)
	if n > 0 {
		w.buf = coder.AppendVarInt(w.buf, int64(n))
	}
}

// endHot ends it.
func (w *blockWriter) endHot(r Rest) {
	w.buf = coder.AppendStateToken(w.buf, r.Token())
	w.rest = r
}

// hotPane writes a pane of a cell whose values are all in a rest.
func (o *Output) hotPane(a *attic, c *cell, ts beam.EventTime, p beam.Pane) {
	r := openRest{Rest: o.Rest(), size: restPage}
	c.values.each(a, func(chunk []byte) {
		if len(r.page) > 0 && len(r.page)+len(chunk) > restPage {
			r.seal()
		}
		r.add(chunk)
	})
	r.seal()
	w := &o.panes
	w.flush(o.Panes)
	w.begin(len(c.key.key)+64, o.blockSize(), o.Panes)
	w.cellHeader(c, ts, p)
	w.beginHot(0)
	w.endHot(r.Rest)
	o.endPane(ts)
	w.flush(o.Panes)
}
