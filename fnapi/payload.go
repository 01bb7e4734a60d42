package fnapi

import "bytes"

// Payload is what an entry of the Data stream carries, in the pieces that the
// transport read it into. They are the transport's again when the call that they
// came with returns: who keeps bytes copies them.
type Payload [][]byte

// Size is the number of bytes.
func (p Payload) Size() int {
	size := 0
	for _, piece := range p {
		size += len(piece)
	}
	return size
}

// Joined is a copy in one piece.
func (p Payload) Joined() []byte { return bytes.Join(p, nil) }

// text is the payload as a string.
func (p Payload) text() string {
	if len(p) == 1 {
		return string(p[0])
	}
	return string(p.Joined())
}
