package fnapi

import (
	"errors"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // registers the codec that all other messages go through
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

// The Data stream carries nearly all bytes, so its messages bypass the proto
// runtime: outgoing payloads are handed to the transport as they are, incoming
// ones alias the buffers that a message was read into.
//
// The wire format (beam_fn_api.proto):
//
//	Elements        1: repeated Data      2: repeated Timers
//	Elements.Data   1: instruction 2: transform           3: data   4: is_last
//	Elements.Timers 1: instruction 2: transform 3: family 4: timers 5: is_last

// elementsOut is an Elements message to send, already in wire format.
type elementsOut struct{ wire mem.BufferSlice }

// elementsIn is an Elements message that was received. It may be used for one
// after the other.
type elementsIn struct {
	entries []entry
	// buffers are the transport's, which the payloads of entries alias: until
	// release.
	buffers mem.BufferSlice
	// wire and payloads are what slices of slices are made of.
	wire, payloads [][]byte
}

// entry is one Elements.Data or Elements.Timers.
type entry struct {
	instruction, transform, family string
	timers                         bool
	last                           bool
	data                           Payload
}

// codec is grpc's proto codec, but for the messages of the Data stream and
// the responses of harnesses.
type codec struct{ proto encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2("proto")} }

func (c codec) Name() string { return "proto" }

func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if out, ok := v.(*elementsOut); ok {
		return out.wire, nil
	}
	return c.proto.Marshal(v)
}

func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	switch m := v.(type) {
	case *elementsIn:
		return m.read(data)
	case *responseIn:
		return m.read(data.Materialize())
	}
	return c.proto.Unmarshal(data, v)
}

var errWire = errors.New("malformed message")

// read holds on to data until release, unless it fails.
func (in *elementsIn) read(data mem.BufferSlice) error {
	in.release()
	for _, b := range data {
		in.wire = append(in.wire, b.ReadOnlyData())
	}
	if err := in.decode(in.wire); err != nil {
		return err
	}
	data.Ref()
	in.buffers = append(in.buffers, data...)
	return nil
}

// release gives the buffers back: from now on the payloads are not to be read.
func (in *elementsIn) release() {
	in.buffers.Free()
	clear(in.buffers)
	clear(in.entries)
	clear(in.wire)
	clear(in.payloads)
	in.buffers, in.entries, in.wire, in.payloads = in.buffers[:0], in.entries[:0], in.wire[:0], in.payloads[:0]
}

// decode keeps slices of the pieces of wire.
func (in *elementsIn) decode(wire [][]byte) error {
	r := newWireReader(wire)
	for r.left > 0 {
		num, typ, ok := r.tag()
		switch {
		case !ok:
			return errWire
		case typ == protowire.BytesType && (num == 1 || num == 2):
			if !in.entry(r, num == 2) {
				return errWire
			}
		case !r.pass(num, typ, maxGroups):
			return errWire
		}
	}
	return nil
}

// entry reads one entry.
func (in *elementsIn) entry(r *wireReader, timers bool) bool {
	size, ok := r.size()
	if !ok {
		return false
	}
	e := entry{timers: timers}
	rest := r.left - size // what is left behind the entry
	for r.left > rest {
		if !in.field(r, &e, rest) {
			return false
		}
	}
	in.entries = append(in.entries, e)
	return r.left == rest
}

// field reads a field of an entry, behind which rest bytes are left.
func (in *elementsIn) field(r *wireReader, e *entry, rest int) bool {
	num, typ, ok := r.tag()
	if !ok {
		return false
	}
	switch typ {
	case protowire.BytesType:
		size, ok := r.size()
		if !ok || r.left-size < rest {
			return false
		}
		from := len(in.payloads)
		in.payloads = r.take(in.payloads, size)
		e.set(num, in.payloads[from:len(in.payloads):len(in.payloads)])
		return true
	case protowire.VarintType:
		v, ok := r.varint()
		if num == 4 && !e.timers || num == 5 && e.timers {
			e.last = v != 0
		}
		return ok
	}
	return r.pass(num, typ, maxGroups)
}

func (e *entry) set(num protowire.Number, value Payload) {
	switch {
	case num == 1:
		e.instruction = value.text()
	case num == 2:
		e.transform = value.text()
	case num == 3 && e.timers:
		e.family = value.text()
	case num == 3, num == 4 && e.timers:
		e.data = value
	}
}

// field is one field of a message in wire format: its bytes if it is
// length-delimited, its value if it is a varint.
type field struct {
	num   protowire.Number
	typ   protowire.Type
	bytes []byte
	value uint64
	raw   []byte // tag and all
}

func eachField(wire []byte, visit func(field) error) error {
	for len(wire) > 0 {
		num, typ, tag := protowire.ConsumeTag(wire)
		if tag < 0 {
			return errWire
		}
		whole := wire
		wire = wire[tag:]
		f := field{num: num, typ: typ}
		var n int
		switch typ {
		case protowire.BytesType:
			f.bytes, n = protowire.ConsumeBytes(wire)
		case protowire.VarintType:
			f.value, n = protowire.ConsumeVarint(wire)
		default:
			n = protowire.ConsumeFieldValue(num, typ, wire)
		}
		if n < 0 {
			return errWire
		}
		f.raw = whole[:tag+n]
		wire = wire[n:]
		if err := visit(f); err != nil {
			return err
		}
	}
	return nil
}

// withDataStream names the data stream of a bundle. ProcessBundleRequest has
// the field (6, data_stream_id), the Go module's protos do not yet.
func withDataStream(req *fnpb.ProcessBundleRequest, stream string) {
	if stream == "" {
		return
	}
	wire := protowire.AppendTag(nil, 6, protowire.BytesType)
	req.ProtoReflect().SetUnknown(protowire.AppendString(wire, stream))
}
