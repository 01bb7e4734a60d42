package translate

import (
	"fmt"
	"slices"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
)

// decodeTestStreams has the elements of every TestStream pass through the SDK
// before anyone looks inside: their coder is the payload's, which may differ
// from that of the collection (Python's payload declares an opaque coder where
// the collection has one of key and value), and they are encoded as outermost
// values, without the length that they have inside others.
//
//	TestStream ─lp<payload's coder>─▶ decode ─▶ as the SDK declared it
func decodeTestStreams(g *graph) error {
	for _, n := range slices.Clone(g.nodes) {
		if n.kind == testStreamNode {
			if err := g.decodeTestStream(n); err != nil {
				return err
			}
		}
	}
	return link(g)
}

func (g *graph) decodeTestStream(n *node) error {
	payload := &pipepb.TestStreamPayload{}
	if err := proto.Unmarshal(n.payload, payload); err != nil {
		return invalid(n.name, "its payload cannot be read: "+err.Error())
	}
	if err := g.coders.check(payload.GetCoderId()); err != nil {
		return invalid(n.name, "its elements: "+err.Error())
	}
	raw := g.coders.lengthPrefix(g.coders.canonical(payload.GetCoderId()))
	for _, local := range sortedKeys(n.outputs) {
		coll := n.outputs[local]
		n.outputs[local] = g.collection(coll+"/Raw", coll, raw)
		if len(g.readers[coll]) == 0 {
			continue
		}
		env := g.environmentNear(coll)
		if env == "" {
			return unsupported(n.name, fmt.Sprintf("a TestStream whose output %q no SDK reads", local), "read it with a ParDo")
		}
		g.add(&node{kind: decodeNode, id: n.id + "/Decode", name: n.name + "/Decode", env: env, main: "in",
			inputs: map[string]string{"in": n.outputs[local]}, outputs: map[string]string{"out": coll}})
	}
	return nil
}

func (g *graph) describeTestStream(s *stage) *TestStreamStage {
	n := s.nodes[0]
	t := &TestStreamStage{Payload: &pipepb.TestStreamPayload{}, Tags: map[string]int{}}
	// The pass has read it before.
	_ = proto.Unmarshal(n.payload, t.Payload)
	t.Prefix = g.coders.urn(t.Payload.GetCoderId()) != urnGoCustom
	for local, coll := range n.outputs {
		t.Tags[local] = slices.IndexFunc(s.outputs, func(o output) bool { return o.coll == coll })
	}
	if len(n.outputs) == 1 {
		// With one output, tags of events are whatever the SDK likes.
		for _, e := range t.Payload.GetEvents() {
			t.Tags[e.GetElementEvent().GetTag()] = 0
			t.Tags[e.GetWatermarkEvent().GetTag()] = 0
		}
	}
	return t
}
