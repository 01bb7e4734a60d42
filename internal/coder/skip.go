package coder

import "encoding/binary"

// Skip returns how many bytes the first value of b takes: ErrShort if b ends
// before it does, another error if no bytes could complete it. It looks only at
// what it needs to find the end: a bool of 7, or a string that is not UTF-8,
// is left for Decode to complain about.
func (c *Coder) Skip(b []byte) (int, error) {
	if c.fixed >= 0 {
		if len(b) < c.fixed {
			return 0, ErrShort
		}
		return c.fixed, nil
	}
	switch c.kind {
	case KindBytes, KindStringUTF8, KindLengthPrefix:
		return skipLengthPrefixed(b)
	case KindVarInt, KindInt32:
		return skipVarInt(b)
	case KindKV, KindLogical:
		return c.skipComponents(b)
	case KindNullable:
		return c.skipNullable(b)
	case KindIterable, KindStateBackedIterable:
		return c.skipIterable(b)
	case KindRow:
		return c.row.skip(b)
	}
	return c.skipRare(b)
}

// skipRare skips the kinds that are not worth a place in the hot switch.
func (c *Coder) skipRare(b []byte) (int, error) {
	switch c.kind {
	case KindIntervalWindow:
		return skipIntervalWindow(b)
	case KindCustomWindow:
		return c.skipPrefix(b, timestampSize, nil)
	case KindWindowedValue, KindParamWindowedValue:
		var e Element
		return c.windowed.Scan(b, &e)
	case KindTimer:
		var t Timer
		_, n, err := c.scanTimer(b, &t)
		return n, err
	case KindShardedKey:
		n, err := skipLengthPrefixed(b)
		return c.skipPrefix(b, n, err)
	case KindMap:
		return c.skipMap(b)
	case KindDecimal:
		return skipDecimal(b)
	}
	return 0, c.unknown("cannot be skipped over: its data needs a length prefix")
}

func (c *Coder) skipComponents(b []byte) (int, error) {
	n := 0
	for _, comp := range c.comps {
		size, err := comp.Skip(b[n:])
		if err != nil {
			return 0, err
		}
		n += size
	}
	return n, nil
}

// skipPrefix skips the component behind a prefix of n bytes.
func (c *Coder) skipPrefix(b []byte, n int, err error) (int, error) {
	if err != nil {
		return 0, err
	}
	if len(b) < n {
		return 0, ErrShort
	}
	size, err := c.comps[0].Skip(b[n:])
	if err != nil {
		return 0, err
	}
	return n + size, nil
}

func (c *Coder) skipNullable(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, ErrShort
	}
	switch b[0] {
	case 0:
		return 1, nil
	case 1:
		return c.skipPrefix(b, 1, nil)
	}
	return 0, malformed("a null indicator of %d", b[0])
}

// skipMany skips count values. Where their size is fixed it takes no loop, so
// that a huge count of empty values costs nothing.
func (c *Coder) skipMany(b []byte, count int64) (int, error) {
	switch {
	case count == 0 || c.fixed == 0:
		return 0, nil
	case c.least > 0 && count > int64(len(b)/c.least):
		return 0, ErrShort
	case c.fixed > 0:
		return int(count) * c.fixed, nil
	}
	n := 0
	for range count {
		size, err := c.Skip(b[n:])
		if err != nil {
			return 0, err
		}
		n += size
	}
	return n, nil
}

// skipMap skips a count of four bytes and as many keys and values.
func (c *Coder) skipMap(b []byte) (int, error) {
	count, err := decodeCount(b)
	if err != nil {
		return 0, err
	}
	if count < 0 {
		return 0, malformed("a map of %d entries", count)
	}
	n := countSize
	if c.comps[0].fixed == 0 && c.comps[1].fixed == 0 {
		return n, nil
	}
	for range count {
		size, err := c.skipComponents(b[n:])
		if err != nil {
			return 0, err
		}
		n += size
	}
	return n, nil
}

// decodeCount reads a count of four bytes, big endian.
func decodeCount(b []byte) (int, error) {
	if len(b) < countSize {
		return 0, ErrShort
	}
	return int(int32(binary.BigEndian.Uint32(b))), nil
}
