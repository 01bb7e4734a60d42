package runner

import (
	"errors"

	"fresnel/fnapi"
	"fresnel/internal/coder"
)

// What comes from a harness lies in pieces of 16 KB, which are the transport's. A
// consumer that takes each element out has them as they are; only an element
// that two pieces share is put together, in the seam, to be looked at. For others
// they are joined: that is the one copy of those bytes.

// addPieces takes bytes of output i, which are not kept; an element may go on in
// the next piece, and in the next call.
func (c *collector) addPieces(i int, data fnapi.Payload) error {
	o := c.outputs[i]
	switch {
	case o.deaf():
		return nil
	case o.keeps(), len(o.tail) > longTail:
		return o.add(data.Joined())
	}
	begun := o.tail
	o.seam.begin(begun)
	for _, piece := range data {
		if err := o.addPiece(piece); err != nil {
			return err
		}
	}
	for _, s := range o.keyed {
		s.deal(begun, data...)
	}
	o.tail = nil
	if rest := o.seam.data; len(rest) > 0 {
		o.tail, o.looked = append([]byte(nil), rest...), o.seam.looked
	}
	return nil
}

// longTail is the size from which on the beginning of an element is not copied
// for each message that goes on with it (I7). Harnesses end messages with an
// element, as a rule.
const longTail = 4 << 10

// keeps tells that bytes are passed on as they came.
func (o *outputCollector) keeps() bool { return len(o.whole)+len(o.spread)+len(o.side) > 0 }

// seam is the beginning of an element, at the end of what came until now.
type seam struct {
	data []byte
	// looked is how much of it was there when it was last looked at.
	looked int
}

// seamStep is how much of a piece is added to a seam at first: more than most
// elements have.
const seamStep = 256

func (s *seam) begin(tail []byte) { s.data, s.looked = append(s.data[:0], tail...), 0 }

// take adds the next bytes of a piece, and returns how many.
func (s *seam) take(piece []byte) int {
	n := min(len(piece), max(len(s.data), seamStep))
	s.data = append(s.data, piece[:n]...)
	return n
}

// patient tells that it is too early to look again (see patientTail).
func (s *seam) patient() bool { return len(s.data) > patientTail && len(s.data) < 2*s.looked }

// drop drops what was seen to be whole.
func (s *seam) drop(n int) {
	s.data = append(s.data[:0], s.data[n:]...)
	s.looked = len(s.data)
}

// addPiece looks at the elements that end in a piece.
func (o *outputCollector) addPiece(piece []byte) error {
	s := &o.seam
	for len(s.data) > 0 && len(piece) > 0 {
		taken := s.take(piece)
		if s.patient() {
			piece = piece[taken:]
			continue
		}
		n, err := o.each(s.data)
		if err != nil {
			return err
		}
		s.drop(n)
		if n > 0 && len(s.data) <= taken { // the rest is in the piece
			taken -= len(s.data)
			s.drop(len(s.data))
		}
		piece = piece[taken:]
	}
	n, err := o.each(piece)
	s.data = append(s.data, piece[n:]...)
	return err
}

// each looks at the whole elements at the start of data, and returns their size.
func (o *outputCollector) each(data []byte) (int, error) {
	var el coder.Element
	at := 0
	for at < len(data) {
		n, err := o.windowed.Scan(data[at:], &el)
		if errors.Is(err, coder.ErrShort) {
			break
		}
		if err != nil {
			return at, err
		}
		at += n
		if err := o.element(data, at, &el); err != nil {
			return at, err
		}
	}
	return at, nil
}
