package main

import (
	"errors"

	"fresnel/internal/coder"
)

// pile is elements that wait for a stage, as blocks of whole ones.
type pile struct {
	coder  *coder.Windowed
	blocks []block
	tail   []byte
	// each, if set, is shown each element that comes.
	each func(*coder.Element) error
}

type block struct {
	data  []byte
	count int
}

// What a block has at most, single elements aside.
const (
	maxBlock      = 1 << 20
	maxBlockCount = 10_000
)

// add takes the output of one bundle: an element may go on in the next piece.
func (p *pile) add(pieces [][]byte) error {
	for _, data := range pieces {
		if len(p.tail) > 0 {
			data = append(p.tail, data...)
			p.tail = nil
		}
		if err := p.cut(data); err != nil {
			return err
		}
	}
	if len(p.tail) > 0 {
		return coder.ErrShort
	}
	return nil
}

// cut finds the elements of data and puts them in blocks.
func (p *pile) cut(data []byte) error {
	var el coder.Element
	from, to, count := 0, 0, 0
	flush := func() {
		if count > 0 {
			p.blocks = append(p.blocks, block{data[from:to:to], count})
		}
		from, count = to, 0
	}
	for to < len(data) {
		n, err := p.coder.Scan(data[to:], &el)
		if errors.Is(err, coder.ErrShort) {
			break
		}
		if err == nil && p.each != nil {
			err = p.each(&el)
		}
		if err != nil {
			return err
		}
		to += n
		if count++; to-from >= maxBlock || count >= maxBlockCount {
			flush()
		}
	}
	flush()
	p.tail = append([]byte(nil), data[to:]...)
	return nil
}

// take empties the pile.
func (p *pile) take() []block {
	blocks := p.blocks
	p.blocks = nil
	return blocks
}

// bundles deals blocks into bundles of about so many elements.
func bundles(blocks []block, elements int) [][][]byte {
	var all [][][]byte
	count := elements
	for _, b := range blocks {
		if count >= elements {
			all, count = append(all, nil), 0
		}
		last := &all[len(all)-1]
		*last, count = append(*last, b.data), count+b.count
	}
	return all
}

// byKey brings the elements of each key together, as state wants it.
func (p *pile) byKey() ([]block, error) {
	var keys []string
	of := map[string][]byte{}
	var el coder.Element
	for _, b := range p.take() {
		for data := b.data; len(data) > 0; data = data[len(el.Raw):] {
			if _, err := p.coder.Scan(data, &el); err != nil {
				return nil, err
			}
			key, _, err := p.coder.Value().SplitKV(el.Value)
			if err != nil {
				return nil, err
			}
			if of[string(key)] == nil {
				keys = append(keys, string(key))
			}
			of[string(key)] = append(of[string(key)], el.Raw...)
		}
	}
	sorted := pile{coder: p.coder}
	for _, k := range keys {
		if err := sorted.cut(of[k]); err != nil {
			return nil, err
		}
	}
	return sorted.blocks, nil
}
