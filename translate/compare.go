package translate

import (
	"crypto/sha256"
	"fmt"
	"strings"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"fresnel/internal/beam"
)

// CoderText describes a coder of the plan for people, and tells coders of two
// plans apart: what is not the same has another text, whatever the ids.
func (p *Plan) CoderText(id string) string { return p.coderText(id, 0) }

func (p *Plan) coderText(id string, depth int) string {
	c := p.Coders[id]
	if c == nil || depth > maxCoderDepth {
		return "?"
	}
	urn := c.GetSpec().GetUrn()
	var b strings.Builder
	if name, ok := shortNames[urn]; ok {
		b.WriteString(name)
	} else {
		b.WriteString(urn)
	}
	if payload := plainPayload(c.GetSpec()); len(payload) > 0 {
		fmt.Fprintf(&b, "#%.4x", sha256.Sum256(payload))
	}
	if comps := c.GetComponentCoderIds(); len(comps) > 0 {
		texts := make([]string, len(comps))
		for i, comp := range comps {
			texts[i] = p.coderText(comp, depth+1)
		}
		b.WriteString("<" + strings.Join(texts, ",") + ">")
	}
	return b.String()
}

// plainPayload is a coder's payload. The ids of schemas, which an SDK may draw by
// lot, are nothing that is encoded.
func plainPayload(spec *pipepb.FunctionSpec) []byte {
	if spec.GetUrn() != urnRow {
		return spec.GetPayload()
	}
	schema := &pipepb.Schema{}
	if proto.Unmarshal(spec.GetPayload(), schema) != nil {
		return spec.GetPayload()
	}
	dropIDs(schema.ProtoReflect())
	return marshal(schema)
}

// dropIDs clears the ids of all schemas in a message.
func dropIDs(m protoreflect.Message) {
	if schema, ok := m.Interface().(*pipepb.Schema); ok {
		schema.Id = ""
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.Message() == nil || f.IsMap():
		case f.IsList():
			for i := range v.List().Len() {
				dropIDs(v.List().Get(i).Message())
			}
		default:
			dropIDs(v.Message())
		}
		return true
	})
}

// KeyCoder is the coder of the keys of a collection of pairs, "" of another.
func (p *Plan) KeyCoder(coder string) string {
	c := p.Coders[coder]
	if c.GetSpec().GetUrn() != urnKV || len(c.GetComponentCoderIds()) != 2 {
		return ""
	}
	return c.GetComponentCoderIds()[0]
}

// SameWindows tells whether two plans' strategies have one window function, so
// that windows of one are windows of the other.
func SameWindows(p *Plan, a beam.WindowingID, q *Plan, b beam.WindowingID) bool {
	s, t := p.Windowings[a], q.Windowings[b]
	return proto.Equal(s.GetWindowFn(), t.GetWindowFn()) && p.CoderText(s.GetWindowCoderId()) == q.CoderText(t.GetWindowCoderId())
}

// SameWindowing tells whether they are alike in all that a grouping goes by.
func SameWindowing(p *Plan, a beam.WindowingID, q *Plan, b beam.WindowingID) bool {
	bare := func(s *pipepb.WindowingStrategy) *pipepb.WindowingStrategy {
		s = proto.CloneOf(s)
		s.WindowCoderId, s.EnvironmentId = "", ""
		return s
	}
	return SameWindows(p, a, q, b) && proto.Equal(bare(p.Windowings[a]), bare(q.Windowings[b]))
}
