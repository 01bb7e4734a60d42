package translate

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"

	"fresnel/internal/coder"
)

// Bounds of a coder as a tree: components are shared by id, so that a proto of a
// few lines can describe an astronomical one. Wrapping at most doubles both.
const (
	maxCoderSize  = 1_000
	maxCoderDepth = 40
)

// coderTable holds the pipeline's coders and those that passes add, each under
// one id for each structure: two ids whose coders are built alike are the same
// coder on the wire.
type coderTable struct {
	protos  map[string]*pipepb.Coder
	shapes  map[string]shape
	byShape map[string]string // structure → the id that stands for it
	wires   map[string]string
}

// shape is the structure of a coder: key is equal for coders that encode alike.
type shape struct {
	key string
	// size and depth are those of the unfolded tree.
	size, depth int
	// known: the runner can tell where an encoded value ends.
	known bool
	fault error
}

func newCoderTable(protos map[string]*pipepb.Coder) *coderTable {
	t := &coderTable{
		protos:  make(map[string]*pipepb.Coder, len(protos)*2),
		shapes:  make(map[string]shape, len(protos)*2),
		byShape: make(map[string]string, len(protos)*2),
		wires:   make(map[string]string, len(protos)),
	}
	for id, c := range protos {
		t.protos[id] = proto.CloneOf(c)
	}
	for _, id := range slices.Sorted(maps.Keys(protos)) {
		t.shape(id, 0)
	}
	return t
}

// check tells what is wrong with the coder or one below it.
func (t *coderTable) check(id string) error {
	s := t.shape(id, 0)
	if s.fault == nil && (s.size > maxCoderSize || s.depth > maxCoderDepth) {
		return fmt.Errorf("coder %q is nested too deep", id)
	}
	return s.fault
}

// runnerCoders are those that the runner reads, if it reads their components.
var runnerCoders = map[string]bool{
	urnBytes: true, urnStringUTF8: true, urnBool: true, urnVarInt: true, urnDouble: true, urnKV: true,
	urnIterable: true, urnStateBackedIterable: true, urnNullable: true, urnLengthPrefix: true,
	urnShardedKey: true, urnTimer: true, urnIntervalWindow: true, urnGlobalWindow: true,
	urnCustomWindow: true, urnWindowedValue: true,
}

var arity = map[string]int{
	urnKV: 2, urnIterable: 1, urnStateBackedIterable: 1, urnTimer: 2, urnWindowedValue: 2,
	urnParamWindowedValue: 2, urnCustomWindow: 1, urnNullable: 1, urnLengthPrefix: 1, urnShardedKey: 1,
}

func (t *coderTable) shape(id string, above int) shape {
	if s, ok := t.shapes[id]; ok {
		return s
	}
	c, ok := t.protos[id]
	switch {
	case !ok:
		return shape{fault: fmt.Errorf("coder %q is not in the pipeline", id)}
	case above > 2*maxCoderDepth:
		return shape{fault: fmt.Errorf("coder %q is nested too deep", id)}
	}
	// Met again below itself, the coder has this fault.
	t.shapes[id] = shape{fault: fmt.Errorf("coder %q contains itself", id)}
	s := t.measure(id, c, above)
	t.shapes[id] = s
	if s.fault == nil {
		if _, ok := t.byShape[s.key]; !ok {
			t.byShape[s.key] = id
		}
	}
	return s
}

func (t *coderTable) measure(id string, c *pipepb.Coder, above int) shape {
	urn, comps := c.GetSpec().GetUrn(), c.GetComponentCoderIds()
	if n := arity[urn]; (n > 0 || runnerCoders[urn] || urn == urnRow) && n != len(comps) {
		return shape{fault: fmt.Errorf("coder %q (%s) has %d components where %d are due", id, urn, len(comps), n)}
	}
	s := shape{size: 1, depth: 1, known: runnerCoders[urn]}
	for _, comp := range comps {
		sub := t.shape(comp, above+1)
		if sub.fault != nil {
			return shape{fault: sub.fault}
		}
		s.size += sub.size
		s.depth = max(s.depth, sub.depth+1)
		s.known = s.known && (sub.known || urn == urnLengthPrefix)
		if s.size > 2*maxCoderSize || s.depth > 2*maxCoderDepth {
			return shape{fault: fmt.Errorf("coder %q is nested too deep", id)}
		}
	}
	if urn == urnRow || urn == urnParamWindowedValue {
		parsed, err := coder.Parse(id, t.protos)
		if err != nil {
			return shape{fault: err}
		}
		s.known = parsed.Known()
	}
	s.key = t.structure(c.GetSpec(), comps)
	return s
}

// structure is one string for all coders of that URN, payload and components.
func (t *coderTable) structure(spec *pipepb.FunctionSpec, comps []string) string {
	var b strings.Builder
	part := func(s string) { b.WriteString(strconv.Itoa(len(s)) + ":" + s) }
	part(spec.GetUrn())
	part(string(spec.GetPayload()))
	for _, comp := range comps {
		part(t.canonical(comp))
	}
	return b.String()
}

// canonical is the id that stands for all coders built like id.
func (t *coderTable) canonical(id string) string { return t.byShape[t.shapes[id].key] }

// intern returns the id of the coder with that URN, payload and components; a
// new one is named after hint.
func (t *coderTable) intern(hint, urn string, payload []byte, comps ...string) string {
	spec := &pipepb.FunctionSpec{Urn: urn, Payload: payload}
	if id, ok := t.byShape[t.structure(spec, comps)]; ok {
		return id
	}
	id := unused(hint, t.protos)
	t.protos[id] = &pipepb.Coder{Spec: spec, ComponentCoderIds: comps}
	t.shape(id, 0)
	return id
}

func (t *coderTable) urn(id string) string { return t.protos[id].GetSpec().GetUrn() }
func (t *coderTable) component(id string, i int) string {
	return t.protos[id].GetComponentCoderIds()[i]
}
func (t *coderTable) isKV(id string) bool { return t.urn(id) == urnKV }

func (t *coderTable) kv(key, value string) string {
	return t.intern(key+"~"+value+"~kv", urnKV, nil, key, value)
}

func (t *coderTable) iterable(elem string) string {
	return t.intern(elem+"~iter", urnIterable, nil, elem)
}

func (t *coderTable) lengthPrefix(id string) string {
	return t.intern(id+"~lp", urnLengthPrefix, nil, id)
}

func (t *coderTable) windowed(value, window string) string {
	return t.intern(value+"~"+window+"~windowed", urnWindowedValue, nil, value, window)
}

func (t *coderTable) timer(key, window string) string {
	return t.intern(key+"~"+window+"~timer", urnTimer, nil, key, window)
}

// wire is the coder of id's values at a stage boundary: what the runner cannot
// skip is length-prefixed, as deep inside as possible, so that keys and values
// stay apart.
func (t *coderTable) wire(id string) string {
	if w, ok := t.wires[id]; ok {
		return w
	}
	w := t.makeWire(id)
	t.wires[id] = w
	return w
}

func (t *coderTable) makeWire(id string) string {
	c := t.protos[id]
	urn := c.GetSpec().GetUrn()
	switch {
	case isWindowed(urn):
		return t.declared(id)
	case t.shapes[id].known:
		return t.canonical(id)
	case !runnerCoders[urn]:
		return t.lengthPrefix(t.canonical(id))
	}
	comps := make([]string, len(c.GetComponentCoderIds()))
	for i, comp := range c.GetComponentCoderIds() {
		comps[i] = t.wire(comp)
	}
	return t.intern(id+"~wire", urn, c.GetSpec().GetPayload(), comps...)
}

// declared is the coder of a collection in a descriptor. One of windowed values is
// length-prefixed: Java's harness takes a collection's windowed coder for that of its
// elements with their windows around them.
func (t *coderTable) declared(id string) string {
	if isWindowed(t.urn(id)) {
		return t.lengthPrefix(t.canonical(id))
	}
	return id
}

func isWindowed(urn string) bool { return urn == urnWindowedValue || urn == urnParamWindowedValue }

// windowWire is the coder of windows at a stage boundary. Windows of the
// SDK's own kinds travel as custom_window, which shows their maximum timestamp,
// around a length prefix.
func (t *coderTable) windowWire(id string) string {
	switch t.urn(id) {
	case urnGlobalWindow, urnIntervalWindow:
		return t.canonical(id)
	case urnCustomWindow:
		return t.intern(id+"~wire", urnCustomWindow, nil, t.wire(t.component(id, 0)))
	default:
		return t.intern(id+"~window", urnCustomWindow, nil, t.lengthPrefix(t.canonical(id)))
	}
}

// closure adds id and everything below it to into.
func (t *coderTable) closure(id string, into map[string]*pipepb.Coder) {
	if _, ok := into[id]; ok {
		return
	}
	c, ok := t.protos[id]
	if !ok {
		return
	}
	into[id] = c
	for _, comp := range c.GetComponentCoderIds() {
		t.closure(comp, into)
	}
}

// unused is id, or id with a number behind it, so that taken has no such key.
func unused[K ~string, V any](id K, taken map[K]V) K {
	candidate := id
	for n := 2; ; n++ {
		if _, ok := taken[candidate]; !ok {
			return candidate
		}
		candidate = id + K("~"+strconv.Itoa(n))
	}
}

// shortNames are how coders are printed.
var shortNames = map[string]string{
	urnBytes: "bytes", urnStringUTF8: "utf8", urnBool: "bool", urnVarInt: "varint", urnDouble: "double",
	urnKV: "kv", urnIterable: "iter", urnStateBackedIterable: "stateiter", urnNullable: "nullable",
	urnLengthPrefix: "lp", urnShardedKey: "sharded", urnTimer: "timer", urnIntervalWindow: "interval",
	urnGlobalWindow: "global", urnCustomWindow: "custom_window", urnWindowedValue: "windowed", urnRow: "row",
}

// describe prints a coder by its structure, as kv<bytes,lp<beam:coder:x:v1>>.
func (t *coderTable) describe(id string) string { return describeCoder(t.protos, id, 0) }

func describeCoder(protos map[string]*pipepb.Coder, id string, depth int) string {
	c, ok := protos[id]
	if !ok || depth > 8 {
		return "?"
	}
	urn := c.GetSpec().GetUrn()
	name, ok := shortNames[urn]
	if !ok {
		return urn
	}
	if len(c.GetComponentCoderIds()) == 0 {
		return name
	}
	comps := make([]string, len(c.GetComponentCoderIds()))
	for i, comp := range c.GetComponentCoderIds() {
		comps[i] = describeCoder(protos, comp, depth+1)
	}
	return name + "<" + strings.Join(comps, ",") + ">"
}
