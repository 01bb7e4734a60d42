package engine

import (
	"errors"
	"fmt"
	"hash/fnv"
	"iter"
	"maps"
	"math"
	"slices"

	"fresnel/internal/beam"
)

// Restore makes an Engine that goes on from the rows of an image, in the order of
// their keys; none is a fresh start. The graph must be the one that the image is
// of. Bundles that were in flight are not in it: their blocks are queued again,
// at their old place.
func Restore(spec Spec, rows iter.Seq2[string, []byte]) (*Engine, *Restored, error) {
	spec.Options.Durable = true
	e, err := assemble(spec)
	if err != nil {
		return nil, nil, err
	}
	r := &restorer{Engine: e, named: map[GateID]bool{}}
	for key, val := range rows {
		if err := r.row(key, val); err != nil {
			return nil, nil, fmt.Errorf("engine: the row %q of the job's image cannot be used: %w", key, err)
		}
	}
	if err := r.complete(); err != nil {
		return nil, nil, fmt.Errorf("engine: the job's image cannot be used: %w", err)
	}
	e.begin()
	if e.state == Draining {
		e.hurry()
		e.drainSources()
		e.propagate()
	}
	return e, r.restored(), nil
}

// restorer fills an engine from the rows of an image.
type restorer struct {
	*Engine
	// last is the key of the row before.
	last string
	// formatted and counted tell whether these rows were there.
	formatted, counted bool
	// named are the gates that blocks name.
	named map[GateID]bool
	// boxes are the outboxes whose blocks have not all come by.
	boxes []*box
}

// box is an outbox that is being filled: its blocks come by in the order of their
// ranks, and are put in that of the entry.
type box struct {
	stage, shard int
	out          *outbox
	at           map[rank]int
}

// mostIncarnations bounds how often a job is restored.
const mostIncarnations = 1 << 23

func (r *restorer) row(key string, val []byte) error {
	if key == "" || key <= r.last {
		return errors.New("it is out of order")
	}
	r.last = key
	if !r.formatted && key[0] != formatRow {
		return errors.New("the row that tells the format is missing")
	}
	switch key[0] {
	case formatRow:
		return r.format(key, val)
	case countRow:
		return r.count(key, val)
	case outboxRow:
		return r.outbox(key, val)
	case gateRow:
		return r.gate(key, val)
	case blockRow:
		return r.block(key, val)
	case shardRow:
		return r.shard(key, val)
	case floorRow:
		return r.floor(key, val)
	}
	return errors.New("its kind is not known")
}

func (r *restorer) format(key string, val []byte) error {
	if _, err := parseKey(key, 0); err != nil {
		return err
	}
	f, err := parseFormat(val)
	if err != nil {
		return err
	}
	if f.shape != r.image.shape {
		return errors.New("it is of a job with another graph")
	}
	r.formatted = true
	r.image.incarnation = f.incarnation + 1
	r.lastBundle = BundleID(r.image.incarnation << incarnationBits)
	return nil
}

// incarnationBits is how many bundles each incarnation may start.
const incarnationBits = 40

func (r *restorer) count(key string, val []byte) error {
	if _, err := parseKey(key, 0); err != nil {
		return err
	}
	c, err := parseCount(val)
	if err != nil {
		return err
	}
	r.counted = true
	r.seq, r.durable = c.seq, c.seq
	if c.draining {
		r.state = Draining
	}
	return nil
}

// stageOf reads the stage and shard of a key.
func (r *restorer) stageOf(key string) (*stage, int, error) {
	n, err := parseKey(key, 2)
	if err != nil {
		return nil, 0, err
	}
	return r.shardAt(n)
}

func (r *restorer) shardAt(n keyNumbers) (*stage, int, error) {
	if n[0] >= uint64(len(r.stages)) || n[1] >= uint64(r.stages[n[0]].Shards) {
		return nil, 0, errors.New("there is no such stage or shard")
	}
	return r.stages[n[0]], int(n[1]), nil
}

func (r *restorer) outbox(key string, val []byte) error {
	st, i, err := r.stageOf(key)
	if err != nil {
		return err
	}
	v, err := parseOutbox(val)
	if err != nil {
		return err
	}
	if st.Role != Sink {
		return errors.New("only sinks have an outbox")
	}
	sh := &st.shards[i]
	sh.entries = v.n
	if len(v.ranks) == 0 {
		return nil
	}
	sh.outbox = &outbox{n: v.n, ranks: v.ranks, blocks: make([]Block, len(v.ranks))}
	b := &box{stage: st.index, shard: i, out: sh.outbox, at: make(map[rank]int, len(v.ranks))}
	for k, rank := range v.ranks {
		b.at[rank] = k
	}
	if len(b.at) < len(v.ranks) {
		return errors.New("it names a block twice")
	}
	r.boxes = append(r.boxes, b)
	r.entries++
	return nil
}

func (r *restorer) gate(key string, val []byte) error {
	n, err := parseKey(key, 1)
	if err != nil {
		return err
	}
	v, err := parseGate(val)
	if err != nil {
		return err
	}
	g := &gate{id: GateID(n[0]), open: v.open, ends: v.ends, stage: v.stage, side: v.side, end: v.end}
	r.gates[g.id] = g
	if !v.ends {
		return nil
	}
	if v.stage >= len(r.stages) || v.side >= len(r.stages[v.stage].sides) {
		return errors.New("there is no such side input")
	}
	r.stages[v.stage].sides[v.side].ends.push(g)
	return nil
}

func (r *restorer) block(key string, val []byte) error {
	n, err := parseKey(key, 3)
	if err != nil {
		return err
	}
	st, i, err := r.shardAt(n)
	if err != nil {
		return err
	}
	place := n[2]
	v, err := parseBlock(val)
	if err != nil {
		return err
	}
	if place == 0 || place > math.MaxInt64 {
		return errors.New("its place is out of range")
	}
	if st.reads() {
		return errors.New("the stage has no input")
	}
	p := v.entry
	p.rank = rank(place)
	sh := &st.shards[i]
	sh.lastRank = max(sh.lastRank, r.arrival(p.rank))
	for _, id := range v.gates {
		r.named[id] = true
	}
	r.account(st, &p)
	if !r.fill(st, i, &p) {
		r.settleAt(st, i, p, v.notBefore.time(), v.gates)
	}
	return nil
}

// fill puts a block into the outbox that it belongs to, if it does.
func (r *restorer) fill(st *stage, i int, p *entry) bool {
	if len(r.boxes) == 0 || r.boxes[0].stage != st.index || r.boxes[0].shard != i {
		return false
	}
	b := r.boxes[0]
	k, ok := b.at[p.rank]
	if !ok {
		return false
	}
	b.out.blocks[k] = p.block().Block
	delete(b.at, p.rank)
	if len(b.at) == 0 {
		r.boxes = r.boxes[1:]
	}
	return true
}

func (r *restorer) shard(key string, val []byte) error {
	st, i, err := r.stageOf(key)
	if err != nil {
		return err
	}
	v, err := parseShard(val, len(st.holds))
	if err != nil {
		return err
	}
	if !st.reads() && (!st.Exclusive || st.Role != Process) {
		return errors.New("the stage has no state")
	}
	sh := &st.shards[i]
	for o, hold := range v.holds {
		st.holds[o].set(i, hold)
	}
	sh.done = v.done && st.reads()
	if st.reads() {
		sh.nextClock = instant(v.nextClock)
		return nil
	}
	sh.nextEvent = v.nextEvent
	if v.nextClock != unsetWall {
		sh.nextClock = instant(v.nextClock)
		r.timers++
	}
	return nil
}

func (r *restorer) floor(key string, val []byte) error {
	n, err := parseKey(key, 1)
	if err != nil {
		return err
	}
	if n[0] >= uint64(len(r.stages)) {
		return errors.New("there is no such stage")
	}
	st := r.stages[n[0]]
	v, err := parseFloor(val, len(st.output))
	if err != nil {
		return err
	}
	st.input = v.input
	copy(st.output, v.output)
	return nil
}

// complete tells whether nothing is missing, and lets the watermarks that were
// reached be known downstream.
func (r *restorer) complete() error {
	if r.formatted != r.counted {
		return errors.New("it does not tell its last commit")
	}
	if len(r.boxes) > 0 {
		return fmt.Errorf("blocks of entry %d of shard %d of %q are missing",
			r.boxes[0].out.n, r.boxes[0].shard, r.stages[r.boxes[0].stage].Name)
	}
	for _, st := range r.stages {
		for o := range st.output {
			if st.output[o] > beam.MinEventTime {
				r.tell(st, o)
			}
		}
	}
	return nil
}

// restored tells what is there, and has the entries given again.
func (r *restorer) restored() *Restored {
	out := &Restored{Commits: r.seq, Draining: r.state == Draining, Blocks: make([]BlockID, 0, len(r.readers))}
	for id := range r.readers {
		out.Blocks = append(out.Blocks, id)
	}
	slices.Sort(out.Blocks)
	for id := range r.gates {
		r.named[id] = true
	}
	out.Gates = slices.Sorted(maps.Keys(r.named))
	for _, st := range r.stages {
		for i := range st.shards {
			if box := st.shards[i].outbox; box != nil {
				out.Entries = append(out.Entries, *box.entry(st.index, i, r.seq))
			}
		}
	}
	r.resend = slices.Clone(out.Entries)
	return out
}

// rebase counts time from the first step on, and no longer from 1970.
func (e *Engine) rebase(by instant) {
	for k := range e.delays {
		e.delays[k].at -= by
	}
	for _, st := range e.stages {
		for i := range st.shards {
			sh := &st.shards[i]
			if sh.nextClock == never || sh.nextClock == 0 {
				continue
			}
			sh.nextClock -= by
			if st.clocks.get(i) != never {
				st.clocks.set(i, sh.nextClock)
			}
		}
		e.clocks.set(st.index, st.clocks.min())
	}
}

// shapeOf tells graphs apart: an image fits only the one that it was made by.
func shapeOf(spec *Spec) uint64 {
	h := fnv.New64a()
	for i := range spec.Stages {
		s := &spec.Stages[i]
		fmt.Fprintln(h, "stage", s.Name, s.Role, s.Shards, s.Exclusive, s.SideInputs, s.Outputs)
	}
	for _, edge := range spec.Edges {
		fmt.Fprintln(h, "edge", edge.From, edge.Output, edge.To, edge.Input, edge.Kind, edge.Keep)
	}
	return h.Sum64()
}
