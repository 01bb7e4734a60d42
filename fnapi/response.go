package fnapi

import (
	"unicode/utf8"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Most of a bundle's response is metrics, and reading them was most of what a
// small bundle cost. Python sends each twice: the full monitoring infos (3), which
// are left as they are where there are short ids (5) as well; those are read
// here, into two pieces of memory for all of them (BenchmarkResponse).
const (
	firstResponseField  = 1000 // of InstructionResponse: from here on all are responses
	bundleResponseField = 1001
	infosField          = 3 // of ProcessBundleResponse
	monitoringField     = 5
)

// responseIn is a response of a harness that was received.
type responseIn struct {
	*fnpb.InstructionResponse
	// infos are the full monitoring infos, as fields of a ProcessBundleResponse in
	// wire format, of a response that has short ids too.
	infos []byte
}

func (in *responseIn) read(wire []byte) error {
	*in = responseIn{InstructionResponse: &fnpb.InstructionResponse{}}
	r := splitResponse(wire)
	if r == nil {
		return proto.Unmarshal(wire, in.InstructionResponse)
	}
	if err := proto.Unmarshal(r.rest, in.InstructionResponse); err != nil {
		return err
	}
	in.GetProcessBundle().MonitoringData = r.monitoring()
	in.infos = r.infos
	return nil
}

// Named tells that the worker has sent beside Monitoring what its short ids mean:
// then nobody has to ask.
func (r *Result) Named() bool { return len(r.infos) > 0 }

// NamedInfos are the bundle's metrics with what they mean, if it is Named. They are
// parsed at each call.
func (r *Result) NamedInfos() []*pipepb.MonitoringInfo {
	var body fnpb.ProcessBundleResponse
	if proto.Unmarshal(r.infos, &body) != nil {
		return nil
	}
	return body.GetMonitoringInfos()
}

// response is the response to a bundle, taken apart.
type response struct {
	rest          []byte // all but metrics
	infos         []byte // the fields of full infos
	ids, payloads [][]byte
}

// splitResponse takes a response apart; nil if it is not that of a bundle with
// metrics by short ids, or not as expected.
func splitResponse(wire []byte) *response {
	var body []byte
	bodies := 0
	r := &response{rest: make([]byte, 0, 256), ids: make([][]byte, 0, 32), payloads: make([][]byte, 0, 32)}
	err := eachField(wire, func(f field) error {
		switch {
		case f.num == bundleResponseField && f.typ == protowire.BytesType:
			body = f.bytes
			bodies++
		case f.num >= firstResponseField:
			return errWire // two responses, of which the last one counts
		default:
			r.rest = append(r.rest, f.raw...)
		}
		return nil
	})
	if err != nil || bodies != 1 {
		return nil
	}
	start := len(r.rest)
	if eachField(body, r.take) != nil || len(r.ids) == 0 {
		return nil
	}
	return r.enclose(start)
}

// take takes one field of the bundle's response.
func (r *response) take(f field) error {
	switch {
	case f.typ == protowire.BytesType && f.num == infosField:
		r.infos = append(r.infos, f.raw...)
		return nil
	case f.typ == protowire.BytesType && f.num == monitoringField:
		return r.entry(f.bytes)
	}
	r.rest = append(r.rest, f.raw...)
	return nil
}

// entry takes an entry of the map from short ids to payloads.
func (r *response) entry(wire []byte) error {
	var id, payload []byte
	err := eachField(wire, func(f field) error {
		switch {
		case f.num == 1 && f.typ == protowire.BytesType:
			id = f.bytes
		case f.num == 2 && f.typ == protowire.BytesType:
			payload = f.bytes
		}
		return nil
	})
	if err != nil || !utf8.Valid(id) {
		return errWire
	}
	r.ids, r.payloads = append(r.ids, id), append(r.payloads, payload)
	return nil
}

// enclose makes what rest has from start on the body of a bundle's response.
func (r *response) enclose(start int) *response {
	body := append([]byte(nil), r.rest[start:]...)
	r.rest = protowire.AppendTag(r.rest[:start], bundleResponseField, protowire.BytesType)
	r.rest = protowire.AppendBytes(r.rest, body)
	return r
}

// monitoring is the map of payloads by short id. Nothing of it refers to the
// message, which may be long.
func (r *response) monitoring() map[string][]byte {
	size := 0
	for i := range r.ids {
		size += len(r.ids[i]) + len(r.payloads[i])
	}
	all := make([]byte, 0, size)
	for _, id := range r.ids {
		all = append(all, id...)
	}
	names, payloads := string(all), all[len(all):]
	data := make(map[string][]byte, len(r.ids))
	for i, id := range r.ids {
		from := len(payloads)
		payloads = append(payloads, r.payloads[i]...)
		data[names[:len(id)]] = payloads[from:len(payloads):len(payloads)]
		names = names[len(id):]
	}
	return data
}
