package coder

import (
	"google.golang.org/protobuf/proto"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

// A pipeline whose coders nest deeper, or spread wider, than any real one is
// refused, so that no recursion over a coder gets out of hand.
const (
	maxDepth = 100
	maxNodes = 1 << 16
)

// Parse reads the coder with this id, and all below it. A coder of unknown URN
// is of KindUnknown; a coder that is malformed, or that a pipeline cannot mean,
// is an error that names its id.
func Parse(id string, coders map[string]*pipepb.Coder) (*Coder, error) {
	p := parser{coders: coders, done: make(map[string]*Coder), open: make(map[string]bool)}
	return p.parse(id)
}

// parser parses every id once, however often it is shared.
type parser struct {
	coders map[string]*pipepb.Coder
	done   map[string]*Coder
	open   map[string]bool // ids on the way down, to find cycles
}

func (p *parser) parse(id string) (*Coder, error) {
	if c, ok := p.done[id]; ok {
		return c, nil
	}
	where := "coder " + id
	msg, ok := p.coders[id]
	switch {
	case !ok || msg == nil:
		return nil, invalid(where, "it is missing from the pipeline's components")
	case p.open[id]:
		return nil, invalid(where, "it contains itself")
	case len(p.open) >= maxDepth:
		return nil, invalid(where, "coders are nested more than %d deep", maxDepth)
	}
	p.open[id] = true
	defer delete(p.open, id)
	comps := make([]*Coder, len(msg.GetComponentCoderIds()))
	for i, comp := range msg.GetComponentCoderIds() {
		var err error
		if comps[i], err = p.parse(comp); err != nil {
			return nil, err
		}
	}
	c, err := assemble(where, msg.GetSpec(), comps)
	if err != nil {
		return nil, err
	}
	p.done[id] = c
	return c, nil
}

// assemble makes a coder of its spec and its parsed components.
func assemble(where string, s *pipepb.FunctionSpec, comps []*Coder) (*Coder, error) {
	c := &Coder{urn: s.GetUrn(), kind: kindOf[s.GetUrn()], payload: s.GetPayload(), comps: comps}
	if want := specs[c.kind].components; c.kind != KindUnknown && len(comps) != want {
		return nil, invalid(where, "%s has %d components, not %d", c.urn, len(comps), want)
	}
	if err := c.readPayload(where); err != nil {
		return nil, err
	}
	if c.seal(); c.depth > maxDepth || c.nodes > maxNodes {
		return nil, invalid(where, "it is %d deep and has %d parts, more than %d and %d",
			c.depth, c.nodes, maxDepth, maxNodes)
	}
	return c, nil
}

// readPayload sets what a kind has beside its components.
func (c *Coder) readPayload(where string) error {
	switch c.kind {
	case KindRow:
		return c.readSchema(where)
	case KindWindowedValue:
		c.windowed = NewWindowed(c.comps[0], c.comps[1])
	case KindParamWindowedValue:
		c.windowed = NewWindowed(c.comps[0], c.comps[1])
		param, err := c.windowed.readParam(c.payload)
		if err != nil {
			return invalid(where, "its payload is not a windowed value: %v", err)
		}
		c.windowed.param = param
	}
	return nil
}

func (c *Coder) readSchema(where string) error {
	var msg pipepb.Schema
	if err := proto.Unmarshal(c.payload, &msg); err != nil {
		return invalid(where, "its payload is not a schema: %v", err)
	}
	schema, err := SchemaFromProto(&msg)
	if err != nil {
		return invalid(where, "its schema cannot be read: %v", err)
	}
	c.setRow(schema, 1)
	return nil
}

// Proto returns the coder's proto. It hands the proto of every component to
// add, which returns the id under which it stored it.
func (c *Coder) Proto(add func(*pipepb.Coder) string) *pipepb.Coder {
	msg := &pipepb.Coder{Spec: &pipepb.FunctionSpec{Urn: c.urn, Payload: c.payload}}
	if c.kind == KindRow && c.payload == nil {
		// Marshalling fails only for strings that are not UTF-8; the reader
		// of the empty payload then says that fields are missing.
		msg.Spec.Payload, _ = proto.Marshal(c.row.schema.Proto())
	}
	for _, comp := range c.comps {
		msg.ComponentCoderIds = append(msg.ComponentCoderIds, add(comp.Proto(add)))
	}
	return msg
}
