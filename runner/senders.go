package runner

import (
	"maps"
	"slices"

	"fresnel/internal/beam"
	"fresnel/internal/coder"
	"fresnel/runner/engine"
	"fresnel/runner/state"
	"fresnel/translate"
)

// maxBlock is about where a block is cut.
const maxBlock = 1 << 20

// wholeSender sends runs as they came to the shard that the bundle's lane stays
// in.
type wholeSender struct {
	c    *collector
	edge *edge
}

func (s *wholeSender) send(data []byte, r run) {
	s.c.emit(s.edge, s.edge.keep(s.c.lane), r.of(data), r.count, r.least, s.edge.gates())
}

// spreadSender deals runs to one shard after the other. They are short at
// first, so that few elements that take long are dealt out too. But the very
// first are one run: a handful of elements, of which there is one in most small
// jobs, is one bundle, and is split if it takes long. Not so restrictions, each of
// which may take long.
type spreadSender struct {
	c     *collector
	edge  *edge
	run   run
	dealt int // elements so far
}

const (
	spreadFirst = 100
	spreadCount = 1024
	spreadBytes = 128 << 10
)

func (s *spreadSender) element(data []byte, end int, el *coder.Element) {
	s.run.end = end
	s.run.count++
	s.run.least = min(s.run.least, el.Hold)
	most := min(1+max(s.dealt-spreadFirst, 0)/(4*s.edge.shards), spreadCount)
	if s.dealt == 0 && !s.edge.to.spec.Restrictions {
		most = spreadFirst
	}
	if s.run.count >= most || s.run.size() >= spreadBytes {
		s.deal(data)
	}
}

func (s *spreadSender) deal(data []byte) {
	shard := int(s.edge.turn.Add(1) % uint64(s.edge.shards))
	s.c.emit(s.edge, shard, s.run.of(data), s.run.count, s.run.least, s.edge.gates())
	s.dealt += s.run.count
	s.run.next()
}

// cut ends what came of data.
func (s *spreadSender) cut(data []byte) {
	if s.run.count > 0 {
		s.deal(data)
	}
	s.run = newRun()
}

// keySender deals elements by their keys. It notes where each goes, and copies
// them when it knows how many bytes go where, so that blocks are made no larger
// than they have to be.
type keySender struct {
	c    *collector
	edge *edge
	// noted are the elements to copy, sums the bytes of those that go to each
	// shard.
	noted  []note
	sums   []int
	blocks []openBlock
}

// note is where an element goes.
type note struct {
	size, shard int
	at          beam.EventTime
}

// openBlock is a block that is being filled.
type openBlock struct {
	data  []byte
	count int
	least beam.EventTime
}

func newKeySender(c *collector, e *edge) *keySender {
	return &keySender{c: c, edge: e, sums: make([]int, e.shards), blocks: make([]openBlock, e.shards)}
}

func (s *keySender) element(el *coder.Element) error {
	shard, err := s.edge.byKey(el)
	if err != nil {
		return err
	}
	s.noted = append(s.noted, note{len(el.Raw), shard, el.Hold})
	s.sums[shard] += len(el.Raw)
	return nil
}

// deal copies the elements noted, which some bytes and pieces are made of.
func (s *keySender) deal(data []byte, pieces ...[]byte) {
	for i := range s.noted {
		n := &s.noted[i]
		b := s.roomFor(n)
		left := n.size
		for left > len(data) {
			b.data = append(b.data, data...)
			left -= len(data)
			data, pieces = pieces[0], pieces[1:]
		}
		b.data = append(b.data, data[:left]...)
		data = data[left:]
	}
	s.noted = s.noted[:0]
}

// roomFor is the block that an element goes into.
func (s *keySender) roomFor(n *note) *openBlock {
	b := &s.blocks[n.shard]
	if len(b.data) >= maxBlock || len(b.data)+n.size > cap(b.data) {
		s.makeRoom(n)
	}
	b.count++
	b.least = min(b.least, n.at)
	s.sums[n.shard] -= n.size
	return b
}

// fullBlock is the size from which on a block without room is left as it is: to
// make it larger is to copy it.
const fullBlock = maxBlock / 2

// makeRoom has a shard's block take an element, and what is known to follow.
func (s *keySender) makeRoom(n *note) {
	b := &s.blocks[n.shard]
	if b.count > 0 && (len(b.data) >= fullBlock || len(b.data)+n.size > maxBlock) {
		s.close(n.shard)
	}
	if b.count == 0 {
		b.least = beam.MaxEventTime
	}
	b.data = slices.Grow(b.data, max(n.size, min(s.sums[n.shard], maxBlock-len(b.data))))
}

// close emits a block.
func (s *keySender) close(shard int) {
	b := &s.blocks[shard]
	if b.count > 0 {
		s.c.emit(s.edge, shard, b.data, b.count, b.least, s.edge.gates())
	}
	*b = openBlock{}
}

func (s *keySender) finish() {
	for shard := range s.blocks {
		s.close(shard)
	}
}

// gatedSender sends elements that wait for side inputs by their windows: those
// that wait for the same go together.
type gatedSender struct {
	c    *collector
	edge *edge
	// open are the blocks being filled, in the order in which they were begun.
	open []*gatedBlock
	// gates are those of the windows of the last element.
	windows []byte
	gates   []engine.Gate
	// Where an SDK must be asked for gates, that is at the bundle's end: until then
	// elements, of the coder windowed, are parked, and seen are their windows.
	windowed *coder.Windowed
	parked   []byte
	seen     map[string]bool
}

type gatedBlock struct {
	openBlock
	shard int
	gates []engine.Gate
}

// maxOpen bounds the blocks that are filled at once.
const maxOpen = 64

func (s *gatedSender) element(w *coder.Windowed, el *coder.Element) error {
	if s.edge.gater.asks() {
		return s.park(w, el)
	}
	return s.place(w, el)
}

// park keeps an element for the bundle's end.
func (s *gatedSender) park(w *coder.Windowed, el *coder.Element) error {
	s.windowed = w
	s.parked = append(s.parked, el.Raw...)
	if s.seen == nil {
		s.seen = map[string]bool{}
	}
	return w.EachWindow(el, func(raw []byte) error {
		s.seen[string(raw)] = true
		return nil
	})
}

// unpark places the elements that were parked.
func (s *gatedSender) unpark() error {
	if len(s.parked) == 0 {
		return nil
	}
	if err := s.edge.gater.learn(slices.Sorted(maps.Keys(s.seen))); err != nil {
		return err
	}
	var el coder.Element
	for data := s.parked; len(data) > 0; {
		n, err := s.windowed.Scan(data, &el)
		if err != nil {
			return err
		}
		if err := s.place(s.windowed, &el); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

// place adds an element to the block of those that wait for the same.
func (s *gatedSender) place(w *coder.Windowed, el *coder.Element) error {
	shard, err := s.shard(el)
	if err != nil {
		return err
	}
	if s.gates == nil || string(s.windows) != string(el.Windows) {
		if s.gates, err = s.edge.gater.of(nil, w, el); err != nil {
			return err
		}
		s.windows = append(s.windows[:0], el.Windows...)
	}
	b := s.block(shard)
	b.data = append(b.data, el.Raw...)
	b.count++
	b.least = min(b.least, el.Hold)
	if len(b.data) >= maxBlock || s.edge.plan.Routing == translate.Spread && b.count >= spreadCount {
		s.close(b)
	}
	return nil
}

func (s *gatedSender) shard(el *coder.Element) (int, error) {
	switch s.edge.plan.Routing {
	case translate.ByKey:
		return s.edge.byKey(el)
	case translate.Spread:
		return int(s.edge.turn.Load() % uint64(s.edge.shards)), nil
	}
	return s.edge.keep(s.c.lane), nil
}

// block returns the open block for a shard and the current gates. The order of a
// shard's elements is kept (I13) among those that wait for the same.
func (s *gatedSender) block(shard int) *gatedBlock {
	for _, b := range s.open {
		if b.shard == shard && slices.EqualFunc(b.gates, s.gates, sameGate) {
			return b
		}
	}
	if len(s.open) >= maxOpen {
		s.closeAll()
	}
	b := &gatedBlock{shard: shard, gates: s.gates, openBlock: openBlock{least: beam.MaxEventTime}}
	s.open = append(s.open, b)
	return b
}

func sameGate(a, b engine.Gate) bool { return a.ID == b.ID }

// close emits a block, which may be filled again.
func (s *gatedSender) close(b *gatedBlock) {
	if b.count == 0 {
		return
	}
	s.c.emit(s.edge, b.shard, b.data, b.count, b.least, b.gates)
	s.edge.turn.Add(1)
	b.openBlock = openBlock{least: beam.MaxEventTime}
}

// finish sends what is left.
func (s *gatedSender) finish() error {
	if err := s.unpark(); err != nil {
		return err
	}
	s.closeAll()
	return nil
}

func (s *gatedSender) closeAll() {
	for _, b := range s.open {
		s.close(b)
	}
	s.open = nil
}

// sideSender collects what a bundle adds to a side input.
type sideSender struct {
	c     *collector
	edge  *edge
	delta *state.SideDelta
}

func (s *sideSender) element(w *coder.Windowed, el *coder.Element) error {
	return w.EachWindow(el, func(raw []byte) error {
		return s.delta.Add(raw, el.Value, s.edge.key)
	})
}

// finish hands the delta over. Where panes may come before the end of the
// watermark, they open the gates of their windows.
func (s *sideSender) finish() {
	if s.delta.Empty() {
		return
	}
	s.delta.Seal()
	s.c.fx.sides = append(s.c.fx.sides, sideDelta{s.edge.to.index, s.edge.plan.Input, s.edge.side, s.delta})
	if !s.edge.triggered {
		return
	}
	gates, side := s.c.job.gates, sideKey{s.edge.to.index, s.edge.plan.Input}
	s.c.open(gates.of(side, s.edge.wholeEnd))
	s.delta.Windows(func(raw string) {
		if raw == "" {
			return
		}
		if end, err := s.edge.sideWindows.MaxTimestamp([]byte(raw)); err == nil {
			s.c.open(gates.ofWindow(side, raw, s.edge.awaited(end)))
		}
	})
}
