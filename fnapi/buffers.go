package fnapi

import "sync"

// bufferPool has the transport's buffers, which it overwrites: they are given out
// as they are. The pool that grpc has by itself clears each first, which is one
// more pass over all bytes of the Data stream.
type bufferPool struct{ tiers [len(bufferSizes)]sync.Pool }

// bufferSizes are those of the tiers. A frame of HTTP/2 has 16 KiB at most.
var bufferSizes = [...]int{512, 2 << 10, 16 << 10, 256 << 10}

// Get returns a buffer of some length.
func (p *bufferPool) Get(length int) *[]byte {
	for i, size := range bufferSizes {
		if length > size {
			continue
		}
		if b, ok := p.tiers[i].Get().(*[]byte); ok {
			*b = (*b)[:length]
			return b
		}
		b := make([]byte, length, size)
		return &b
	}
	b := make([]byte, length)
	return &b
}

// Put takes a buffer back.
func (p *bufferPool) Put(b *[]byte) {
	for i, size := range bufferSizes {
		if cap(*b) == size {
			p.tiers[i].Put(b)
			return // it is another's now
		}
	}
}
