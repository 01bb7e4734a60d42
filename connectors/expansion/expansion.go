// Package expansion answers Beam's ExpansionService: it tells an SDK what an
// external transform (ReadFromKafka, WriteToJdbc, a schema transform, Managed)
// becomes in a pipeline. Every one of them becomes a native primitive with a
// URN of ours, no environment and the connector's own description as payload,
// which the engine runs in Go:
//
//	SDK ──Expand(urn, configuration)──▶ Service ──Request──▶ Expander of a connector
//	SDK ◀──transforms, coders───────── Service ◀──Expansion─┘
//
// What the protos look like (namespaces, ids, coders, the shapes that Beam's
// Python client keeps and those that it drops) is known in this package alone;
// connectors say what they read or write. Configurations hold passwords: they
// are neither logged nor put in errors here.
package expansion

import (
	"context"

	"fresnel/internal/coder"
)

// An Expander expands the transforms of one connector.
type Expander interface {
	Transforms() []Transform
}

// A Transform is one external transform that can be expanded.
type Transform struct {
	// URN of the external transform, or the identifier of a schema transform.
	URN string
	// Schema is the configuration of a schema transform, in the order in which
	// clients see it; nil for a transform of the older kind, whose requests
	// bring their own.
	Schema []coder.Field
	// Description, Inputs and Outputs are what discovery tells of a schema
	// transform.
	Description     string
	Inputs, Outputs []string
	// Managed is the identifier under which Beam's Managed transform knows it,
	// if it does.
	Managed []string
	// Rename maps the field names of a managed configuration to ours where they
	// may differ.
	Rename map[string]string
	// Expand returns what the transform becomes. An error goes to the client as
	// it is, so it says what to do and holds no secrets.
	Expand func(ctx context.Context, r *Request) (*Expansion, error)
}

// A Request asks for one expansion.
type Request struct {
	// Name is the user's full transform name.
	Name string
	// Config is the transform's configuration.
	Config *Config
	// Inputs are what the transform is applied to, by tag.
	Inputs []Input
}

// An Input is a collection that a transform is applied to.
type Input struct {
	Tag string
	// Coder is that of the elements; nil when it is one we do not know.
	Coder *coder.Coder
	// CoderURN names the coder for errors.
	CoderURN string
	Bounded  bool
}

// An Expansion is what an external transform becomes: one native primitive.
type Expansion struct {
	// URN and Payload of the native transform.
	URN     string
	Payload []byte
	// Outputs are those that the client sees. A transform with inputs is a
	// sink: its outputs, if there are any, stay empty.
	Outputs []Output
	// Empty are further outputs that the client sees and that nothing is ever
	// put in, such as the errors of a transform that has none.
	Empty []Output
	// Bounded tells whether a source ends by itself.
	Bounded bool
	// Redistribute adds a redistribution behind the read.
	Redistribute bool
}

// An Output is one result of an expanded transform.
type Output struct {
	Tag   string
	Coder *coder.Coder
}
