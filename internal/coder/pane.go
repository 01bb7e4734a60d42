package coder

import "fresnel/internal/beam"

// The first byte of a pane, from the highest bit:
//
//	m e e e t t l f    f first, l last, tt timing,
//	                   eee: 0 no index follows, both are 0
//	                        1 a varint follows: the index
//	                        2 two varints follow: index, non-speculative index
//	                   m: metadata follows, as length-prefixed bytes
//
// Java sets m if the runner declares that it understands element metadata,
// which Fresnel does not; a pane with metadata is skipped over all the same.

const (
	paneFirst      = 0x01
	paneLast       = 0x02
	paneTiming     = 2 // bits to shift
	paneEncoding   = 4 // bits to shift
	paneMetadata   = 0x80
	paneNoIndex    = 0
	paneOneIndex   = 1
	paneTwoIndices = 2
)

// AppendPane appends p. As in the SDKs, the indices of a pane of unknown
// timing are not written.
func AppendPane(dst []byte, p beam.Pane) []byte {
	first := byte(p.Timing&3) << paneTiming
	if p.First {
		first |= paneFirst
	}
	if p.Last {
		first |= paneLast
	}
	switch {
	case p.Timing == beam.Early:
		return AppendVarInt(append(dst, first|paneOneIndex<<paneEncoding), p.Index)
	case p.Timing == beam.Unknown, p.Index == 0 && p.NonSpeculative == 0:
		return append(dst, first)
	case p.Index == p.NonSpeculative:
		return AppendVarInt(append(dst, first|paneOneIndex<<paneEncoding), p.Index)
	}
	dst = AppendVarInt(append(dst, first|paneTwoIndices<<paneEncoding), p.Index)
	return AppendVarInt(dst, p.NonSpeculative)
}

// DecodePane reads the pane at the start of b. Metadata of the element that
// follows a pane is counted in n and dropped.
func DecodePane(b []byte) (p beam.Pane, n int, err error) {
	n, err = skipPane(b)
	if err != nil {
		return beam.Pane{}, 0, err
	}
	p = beam.Pane{
		First:  b[0]&paneFirst != 0,
		Last:   b[0]&paneLast != 0,
		Timing: beam.Timing(b[0] >> paneTiming & 3),
	}
	indices, at := paneIndices(b[0]), 0
	if indices >= paneOneIndex {
		p.Index, at, _ = DecodeVarInt(b[1:])
		p.NonSpeculative = p.Index
	}
	switch {
	case p.Timing == beam.Early: // SDKs take it so, whatever is written
		p.NonSpeculative = -1
	case indices == paneTwoIndices:
		p.NonSpeculative, _, _ = DecodeVarInt(b[1+at:])
	}
	return p, n, nil
}

func paneIndices(first byte) int { return int(first >> paneEncoding & 7) }

// skipPane returns the size of the pane and its metadata.
func skipPane(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, ErrShort
	}
	if b[0] < paneOneIndex<<paneEncoding {
		return 1, nil
	}
	return skipLongPane(b)
}

func skipLongPane(b []byte) (int, error) {
	indices := paneIndices(b[0])
	if indices > paneTwoIndices {
		return 0, malformed("a pane that begins with byte 0x%02x", b[0])
	}
	n := 1
	for range indices {
		size, err := skipVarInt(b[n:])
		if err != nil {
			return 0, err
		}
		n += size
	}
	if b[0]&paneMetadata == 0 {
		return n, nil
	}
	size, err := skipLengthPrefixed(b[n:])
	if err != nil {
		return 0, err
	}
	return n + size, nil
}
