package coder

// SplitKV returns the encoded halves of an encoded KV, each in the nested form
// of its component, as slices of value.
func (c *Coder) SplitKV(value []byte) (key, val []byte, err error) {
	if c.kind != KindKV {
		return nil, nil, c.unknown("is not one of key-value pairs")
	}
	n, err := c.comps[0].Skip(value)
	if err != nil {
		return nil, nil, whole(err)
	}
	return value[:n:n], value[n:], nil
}
