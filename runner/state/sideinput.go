package state

import (
	"math"
	"slices"
	"sync"

	"github.com/tidwall/btree"

	"fresnel/internal/beam"
	"fresnel/runner/store"
)

// SideInput is the content of one side input: for each window the elements
// that have arrived. Bundles read it through views, each as it was when the
// view was taken, and Apply adds to it.
//
//	SideInput ──▶ window ──▶ layer  layer  layer      one for each delta applied
//	SideView  ──▶ window ──▶ layer  layer
//
// Layers never change. Apply costs the same however large they are, so that it
// can be part of a commit; a reader who finds many makes them one. Their bytes
// are on a shelf, which may be on disk: what is in memory of a page there is its
// place and first key.
//
// What no view can see any more is given back when the last that could is closed.
type SideInput struct {
	multimap bool
	shelf    *store.Shelf

	mu      sync.Mutex
	version uint64
	windows *btree.Map[string, *sideWindow]
	// views are open, in the order in which they were taken. Windows retired wait
	// for those from before their time, which at counts.
	views   []*SideView
	retired []retiredWindow
	at      uint64
}

type retiredWindow struct {
	at     uint64
	window *sideWindow
}

// NewSideInput returns an empty side input.
func NewSideInput(multimap bool, shelf *store.Shelf) *SideInput {
	return &SideInput{multimap: multimap, shelf: shelf, windows: btree.NewMap[string, *sideWindow](16)}
}

// sideWindow is what one window holds at one version.
type sideWindow struct {
	once sync.Once
	// layers are changed once, by settle, under the side input's lock.
	layers []*layer
	err    error
}

// hold counts one more who has the layers, letGo one less.
func hold(layers []*layer) {
	for _, l := range layers {
		l.refs++
	}
}

func (s *SideInput) letGo(layers []*layer) {
	for _, l := range layers {
		if l.refs--; l.refs == 0 {
			s.free(l)
		}
	}
}

const (
	// maxLayers is how many layers a reader of a multimap goes through.
	maxLayers = 8
	// maxSlices is how many layers of an iterable that have less than a page follow
	// one another before a reader.
	maxSlices = 64
)

// coalesce makes the last layers one, if they are small: what comes in drops is
// copied once for each time that it has doubled.
func (s *SideInput) coalesce(layers []*layer, lasting bool) []*layer {
	from, sum := len(layers)-1, layers[len(layers)-1].bytes
	for from > 0 && sum < smallLayer && layers[from-1].small() && layers[from-1].bytes <= 2*sum {
		from--
		sum += layers[from].bytes
	}
	if from == len(layers)-1 || !layers[len(layers)-1].small() {
		return layers
	}
	one, err := s.join(layers[from:], lasting)
	if err != nil {
		return layers // a reader will find out why
	}
	return append(slices.Clip(layers[:from]), one)
}

// settle makes the layers of a window as many as a reader goes through: once,
// for tokens count on it.
func (s *SideInput) settle(w *sideWindow) ([]*layer, error) {
	w.once.Do(func() {
		from := s.tooMany(w.layers)
		if from == len(w.layers) {
			return
		}
		one, err := s.join(w.layers[from:], false)
		if err != nil {
			w.err = err
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		old := w.layers
		w.layers = append(slices.Clip(old[:from]), one)
		hold(w.layers)
		s.letGo(old)
	})
	return w.layers, w.err
}

// tooMany is from which layer on they are to be made one. Of a multimap a layer
// stays alone if it is much larger than all that came after it: so each byte is
// copied again only when what it is among has doubled.
func (s *SideInput) tooMany(layers []*layer) int {
	from := len(layers)
	if !s.multimap {
		for from > 0 && layers[from-1].bytes < MaxPage {
			from--
		}
		if len(layers)-from <= maxSlices {
			return len(layers)
		}
		return from
	}
	if len(layers) <= maxLayers {
		return from
	}
	sum := 0
	for from > 0 && (from > maxLayers-1 || layers[from-1].bytes <= 2*sum) {
		from--
		sum += layers[from].bytes
	}
	return from
}

// Apply adds a committed bundle's delta, which must not be used any more.
func (s *SideInput) Apply(d *SideDelta) {
	if d.Empty() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	for raw, add := range d.windows {
		s.add(raw, add.layers)
	}
}

// add adds layers that somebody had, and has no more, to a window.
func (s *SideInput) add(raw string, layers []*layer) {
	if len(layers) == 0 {
		return
	}
	var all []*layer
	if w, ok := s.windows.Get(raw); ok {
		all = w.layers
		defer s.retire(w)
	}
	w := &sideWindow{layers: s.coalesce(append(slices.Clip(all), layers...), false)}
	hold(w.layers)
	s.letGo(layers)
	s.windows.Set(raw, w)
}

// Forget forgets the windows that are encoded below bound: nobody will read them
// any more. Views that have them keep them.
func (s *SideInput) Forget(bound string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		raw, w, ok := s.windows.Min()
		if !ok || raw >= bound {
			return
		}
		s.windows.Delete(raw)
		s.retire(w)
	}
}

// retire lets go of a window's version that views from now on do not have.
func (s *SideInput) retire(w *sideWindow) {
	s.at++
	s.retired = append(s.retired, retiredWindow{s.at, w})
	s.reclaim()
}

// reclaim gives back what no view has.
func (s *SideInput) reclaim() {
	oldest := uint64(math.MaxUint64)
	if len(s.views) > 0 {
		oldest = s.views[0].at
	}
	n := 0
	for n < len(s.retired) && s.retired[n].at <= oldest {
		s.letGo(s.retired[n].window.layers)
		n++
	}
	s.retired = slices.Delete(s.retired, 0, n)
}

// Windows is how many windows have content.
func (s *SideInput) Windows() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.windows.Len()
}

// View returns the side input as it is now; it costs next to nothing. Who took it
// closes it.
func (s *SideInput) View() *SideView {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := &SideView{side: s, version: s.version, at: s.at, windows: s.windows.Copy()}
	s.views = append(s.views, v)
	return v
}

// Close tells that the view is not read any more.
func (v *SideView) Close() {
	s := v.side
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.views, v); i >= 0 {
		s.views = slices.Delete(s.views, i, i+1)
		s.reclaim()
	}
}

func errPattern(want, have string) error {
	return &beam.Error{Code: beam.BadData, What: "a side input is read as " + want + ", but its pipeline declares " + have}
}
