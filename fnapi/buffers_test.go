package fnapi

import "testing"

func TestBuffersAreAsLongAsAskedFor(t *testing.T) {
	t.Parallel()
	var p bufferPool
	for _, length := range []int{0, 1, 512, 513, 16 << 10, 256 << 10, 256<<10 + 1, 5 << 20} {
		for range 3 { // new, and used
			b := p.Get(length)
			if len(*b) != length {
				t.Errorf("one of %d bytes has %d", length, len(*b))
			}
			*b = (*b)[:length/2] // what is put back may be a prefix
			p.Put(b)
		}
	}
}

// TestBuffersAreUsedAgain: a stream of frames makes no garbage, nor are its
// buffers cleared.
func TestBuffersAreUsedAgain(t *testing.T) {
	var p bufferPool
	allocs := testing.AllocsPerRun(1000, func() {
		b := p.Get(16 << 10)
		(*b)[0] = 1
		p.Put(b)
	})
	if allocs >= 1 {
		t.Errorf("%.1f allocations for a buffer", allocs)
	}
}
