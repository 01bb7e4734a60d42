// Package coder reads and writes Beam's standard coders: it skips over
// encoded elements, splits them, decodes them and encodes them.
//
//	coder protos ──Parse──▶ *Coder ──Skip──────▶ where the next element begins
//	                          │    ──SplitKV───▶ key bytes, value bytes
//	                          │    ──Decode────▶ Go values ──Append──▶ bytes
//	                          └▶ *Windowed ──Scan──▶ Element (slices of the input)
//
// The engine routes elements without decoding them, so Skip, Scan, ScanTimer
// and SplitKV are the hot paths: they allocate nothing and look at no more
// bytes than they need to find a boundary. Decode, Append and the row coder
// serve connectors and expansion, where values matter.
//
// Bytes come from clients, harnesses and brokers, and are never trusted (I7).
// No input makes this package panic or recurse or loop beyond a bound that
// follows from the length of the input and from the size of the coder, and
// what Decode allocates is bounded in the same way. Input that ends too early
// gives ErrShort, so that a caller can carry the tail over to the next
// message; input that is wrong gives a beam.Error of code BadData.
//
// # Contexts
//
// Beam's coders have two forms. In the nested form every value ends by
// itself: bytes and strings have a varint length before them. In the outer
// form the value extends to the end of the input. All data on the Fn API,
// and all exported functions here, use the nested form, also for the value
// of a windowed element and for the key of a timer. The outer form occurs
// in one place only, inside beam:coder:length_prefix:v1.
//
// # Reading order
//
// varint.go, time.go, pane.go and window.go hold the small formats; coder.go,
// parse.go and skip.go the tree of coders; windowed.go and timer.go what the
// data streams carry; decode.go and append.go the values; schema.go, row.go
// and logical.go the rows.
package coder
