package engine

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"

	"fresnel/internal/beam"
)

// Transplant says what of the image of one graph goes on in another. Stages and
// inputs of the old graph are named by what is left of an arrow, those of the new
// one by what is right of it.
type Transplant struct {
	From, To Spec
	// Stages ──▶ stages: their times, entries and watermarks go on, and what waits at
	// a sink. Where both have shards, they have as many.
	Stages map[int]int
	// Sides are side inputs (stage, number) ──▶ side inputs: their gates go on.
	Sides map[[2]int][2]int
	// Place tells where a pending block of an input goes on, under which id: nowhere,
	// in one stage, or in several.
	Place func(stage, input int, id BlockID) []Place
	// Reached are the watermarks of the old stages.
	Reached []StageSnapshot
}

// Place is where a pending block goes on.
type Place struct {
	Stage, Input int
	Block        BlockID
}

// Rows makes the image for the new graph of the rows of the old one, in the order
// of their keys. What rows yields need not stay as it is.
func (t *Transplant) Rows(rows iter.Seq2[string, []byte]) (map[string][]byte, error) {
	m := mover{Transplant: t, rows: map[string][]byte{}, gates: map[GateID]bool{}}
	for key, val := range rows {
		if err := m.row(key, val); err != nil {
			return nil, fmt.Errorf("engine: the row %q of the job's image cannot be used: %w", key, err)
		}
	}
	m.floors()
	return m.rows, nil
}

// mover makes new rows.
type mover struct {
	*Transplant
	rows map[string][]byte
	// gates are those that go on.
	gates map[GateID]bool
}

func (m *mover) set(val []byte, kind byte, numbers ...uint64) {
	m.rows[string(appendKey(nil, kind, numbers...))] = slices.Clone(val)
}

func (m *mover) row(key string, val []byte) error {
	if key == "" {
		return errors.New("it has no key")
	}
	switch key[0] {
	case formatRow:
		return m.format(val)
	case countRow:
		c, err := parseCount(val)
		if c.draining {
			return errors.New("a job that drains cannot go on as another")
		}
		m.set(val, countRow)
		return err
	case outboxRow, shardRow:
		return m.times(key, val)
	case gateRow:
		return m.gate(key, val)
	case blockRow:
		return m.block(key, val)
	case floorRow:
		return nil // all are written anew
	}
	return errors.New("its kind is not known")
}

func (m *mover) format(val []byte) error {
	f, err := parseFormat(val)
	if err != nil {
		return err
	}
	if f.shape != shapeOf(&m.From) {
		return errors.New("it is of a job with another graph")
	}
	f.shape = shapeOf(&m.To)
	m.set(f.append(nil), formatRow)
	return nil
}

// times moves what is known of a shard, or of its entries.
func (m *mover) times(key string, val []byte) error {
	n, err := parseKey(key, 2)
	if err != nil {
		return err
	}
	to, ok := m.Stages[int(n[0])]
	if !ok {
		return nil
	}
	if n[1] >= uint64(m.To.Stages[to].Shards) {
		return errors.New("the stage has fewer shards now")
	}
	if st := m.To.Stages[to]; key[0] == shardRow && (st.Role == Source || st.Role == Script) {
		if val, err = m.source(val, m.From.Stages[n[0]], st); err != nil {
			return err
		}
	}
	m.set(val, key[0], uint64(to), n[1])
	return nil
}

// source is the row of a source's shard for another number of outputs: with
// the least of the watermarks.
func (m *mover) source(val []byte, from, to StageSpec) ([]byte, error) {
	v, err := parseShard(val, max(from.Outputs, 1))
	if err != nil {
		return nil, err
	}
	v.holds = slices.Repeat([]beam.EventTime{slices.Min(v.holds)}, max(to.Outputs, 1))
	return v.append(nil), nil
}

func (m *mover) gate(key string, val []byte) error {
	n, err := parseKey(key, 1)
	if err != nil {
		return err
	}
	v, err := parseGate(val)
	if err != nil {
		return err
	}
	if v.ends {
		to, ok := m.Sides[[2]int{v.stage, v.side}]
		if !ok {
			return nil
		}
		v.stage, v.side = to[0], to[1]
	}
	m.gates[GateID(n[0])] = true
	m.set(v.append(nil), gateRow, n[0])
	return nil
}

func (m *mover) block(key string, val []byte) error {
	n, err := parseKey(key, 3)
	if err != nil {
		return err
	}
	v, err := parseBlock(val)
	if err != nil {
		return err
	}
	v.gates = slices.DeleteFunc(v.gates, func(id GateID) bool { return !m.gates[id] })
	for _, p := range m.Place(int(n[0]), int(v.entry.input), v.entry.id) {
		if n[1] >= uint64(m.To.Stages[p.Stage].Shards) {
			return errors.New("the stage has fewer shards now")
		}
		there := v
		there.entry.id, there.entry.input = p.Block, int32(p.Input)
		m.set(there.append(nil), blockRow, uint64(p.Stage), n[1], n[2])
	}
	return nil
}

// floors keeps the watermarks of the stages that go on where they were, whatever
// is put in front of them (I5).
func (m *mover) floors() {
	for _, from := range slices.Sorted(maps.Keys(m.Stages)) {
		to := m.Stages[from]
		st := m.To.Stages[to]
		was, f := m.Reached[from], floorValue{}
		if st.Role != Process || was.Input >= beam.MaxEventTime {
			continue // what has come to its end has nothing left to be kept from
		}
		f.input = was.Input
		least := beam.MinEventTime
		if len(was.Outputs) > 0 {
			least = slices.Min(was.Outputs)
		}
		f.output = slices.Repeat([]beam.EventTime{least}, st.Outputs)
		m.set(f.append(nil), floorRow, uint64(to))
	}
}
