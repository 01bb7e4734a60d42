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
// ones alias the one buffer that a message was read into.
//
// The wire format (beam_fn_api.proto):
//
//	Elements        1: repeated Data      2: repeated Timers
//	Elements.Data   1: instruction 2: transform           3: data   4: is_last
//	Elements.Timers 1: instruction 2: transform 3: family 4: timers 5: is_last

// elementsOut is an Elements message to send, already in wire format.
type elementsOut struct{ wire mem.BufferSlice }

// elementsIn is an Elements message that was received.
type elementsIn struct{ entries []entry }

// entry is one Elements.Data or Elements.Timers.
type entry struct {
	instruction, transform, family string
	timers                         bool
	last                           bool
	data                           []byte
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
		return m.decode(data.Materialize())
	case *fnpb.InstructionResponse:
		return readResponse(data.Materialize(), m)
	}
	return c.proto.Unmarshal(data, v)
}

var errWire = errors.New("malformed message")

// decode keeps slices of wire.
func (in *elementsIn) decode(wire []byte) error {
	in.entries = in.entries[:0]
	return eachField(wire, func(f field) error {
		if f.typ != protowire.BytesType || f.num != 1 && f.num != 2 {
			return nil
		}
		e := entry{timers: f.num == 2}
		if err := e.decode(f.bytes); err != nil {
			return err
		}
		in.entries = append(in.entries, e)
		return nil
	})
}

func (e *entry) decode(wire []byte) error {
	return eachField(wire, func(f field) error {
		switch f.typ {
		case protowire.BytesType:
			e.set(f.num, f.bytes)
		case protowire.VarintType:
			if f.num == 4 && !e.timers || f.num == 5 && e.timers {
				e.last = f.value != 0
			}
		}
		return nil
	})
}

func (e *entry) set(num protowire.Number, value []byte) {
	switch {
	case num == 1:
		e.instruction = string(value)
	case num == 2:
		e.transform = string(value)
	case num == 3 && e.timers:
		e.family = string(value)
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
