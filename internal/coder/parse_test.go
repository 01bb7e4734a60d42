package coder

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"fresnel/internal/beam"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

func coderProto(kind Kind, comps ...string) *pipepb.Coder {
	return urnProto(specs[kind].urn, comps...)
}

func urnProto(urn string, comps ...string) *pipepb.Coder {
	return &pipepb.Coder{Spec: &pipepb.FunctionSpec{Urn: urn}, ComponentCoderIds: comps}
}

func withPayload(c *pipepb.Coder, payload []byte) *pipepb.Coder {
	c.Spec.Payload = payload
	return c
}

func TestParseReadsTheTree(t *testing.T) {
	t.Parallel()
	c, err := Parse("kv", map[string]*pipepb.Coder{
		"kv":     coderProto(KindKV, "bytes", "iter"),
		"bytes":  coderProto(KindBytes),
		"iter":   coderProto(KindIterable, "prefix"),
		"prefix": coderProto(KindLengthPrefix, "pickle"),
		"pickle": urnProto("beam:coder:pickled_python:v1", "bytes"),
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := c.String(); got != "kv<bytes,iterable<length_prefix<beam:coder:pickled_python:v1>>>" {
		t.Error(got)
	}
	if !c.Known() || c.URN() != "beam:coder:kv:v1" || c.Kind() != KindKV {
		t.Errorf("known %t, %s, %s", c.Known(), c.URN(), c.Kind())
	}
	pickle := c.Component(1).Component(0).Component(0)
	if pickle.Known() || pickle.Kind() != KindUnknown || pickle.Component(0) != c.Component(0) {
		t.Error("the unknown coder lost its parts, or a shared coder was parsed twice")
	}
}

func TestParseNamesTheCoderThatIsWrong(t *testing.T) {
	t.Parallel()
	chain := map[string]*pipepb.Coder{"c0": coderProto(KindBytes)}
	tree := map[string]*pipepb.Coder{"c0": coderProto(KindGlobalWindow)}
	for i := range 200 {
		id, below := fmt.Sprint("c", i+1), fmt.Sprint("c", i)
		chain[id] = coderProto(KindNullable, below)
		tree[id] = coderProto(KindKV, below, below)
	}
	for _, test := range []struct {
		name, id, where string
		coders          map[string]*pipepb.Coder
	}{
		{"missing", "x", "coder x", nil},
		{"nil", "x", "coder x", map[string]*pipepb.Coder{"x": nil}},
		{"missing component", "x", "coder y", map[string]*pipepb.Coder{"x": coderProto(KindIterable, "y")}},
		{"cycle", "x", "coder x", map[string]*pipepb.Coder{
			"x": coderProto(KindIterable, "y"), "y": coderProto(KindIterable, "x")}},
		{"cycle of unknown coders", "x", "coder x", map[string]*pipepb.Coder{"x": urnProto("what", "x")}},
		{"too few components", "x", "coder x", map[string]*pipepb.Coder{
			"x": coderProto(KindKV, "y"), "y": coderProto(KindBytes)}},
		{"too many components", "x", "coder x", map[string]*pipepb.Coder{
			"x": coderProto(KindBytes, "y"), "y": coderProto(KindBytes)}},
		{"row of garbage", "x", "coder x", map[string]*pipepb.Coder{
			"x": withPayload(coderProto(KindRow), []byte{0xff})}},
		{"row of a field without type", "x", "coder x", map[string]*pipepb.Coder{
			"x": withPayload(coderProto(KindRow), []byte{0x0a, 0x00})}},
		{"short param", "x", "coder x", map[string]*pipepb.Coder{
			"x": coderProto(KindParamWindowedValue, "y", "y"), "y": coderProto(KindGlobalWindow)}},
		{"too deep", "c200", "coder c", chain},
		{"too wide", "c90", "coder c16", tree},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Parse(test.id, test.coders)
			if beam.CodeOf(err) != beam.InvalidPipeline || !strings.Contains(err.Error(), test.where) {
				t.Errorf("%v does not name %s", err, test.where)
			}
		})
	}
}

func TestDepthIsBoundedAcrossSharedCoders(t *testing.T) {
	t.Parallel()
	coders := map[string]*pipepb.Coder{"c0": coderProto(KindBytes), "root": urnProto("what")}
	for i := range 300 {
		coders[fmt.Sprint("c", i+1)] = coderProto(KindNullable, fmt.Sprint("c", i))
		if i%50 == 0 {
			coders["root"].ComponentCoderIds = append(coders["root"].ComponentCoderIds, fmt.Sprint("c", i))
		}
	}
	if _, err := Parse("root", coders); err == nil {
		t.Error("a coder 250 deep was accepted")
	}
}

func TestParseWindowedRefusesOtherCoders(t *testing.T) {
	t.Parallel()
	_, err := ParseWindowed("x", map[string]*pipepb.Coder{"x": coderProto(KindBytes)})
	if beam.CodeOf(err) != beam.InvalidPipeline {
		t.Error(err)
	}
	if _, err := ParseWindowed("x", nil); beam.CodeOf(err) != beam.InvalidPipeline {
		t.Error(err)
	}
}

func TestProtoParsesBack(t *testing.T) {
	t.Parallel()
	row := RowCoder(&Schema{Fields: []Field{{"a", ArrayOf(Atomic(TypeString).OrNull())}, {"d", FixedDecimal(5, 2)}}})
	for _, c := range []*Coder{
		KVOf(NullableOf(Bytes), IterableOf(row)),
		LengthPrefixOf(TimerOf(StringUTF8, IntervalWindow)),
		KVOf(Double, KVOf(Bool, VarInt)),
	} {
		coders := make(map[string]*pipepb.Coder)
		add := func(p *pipepb.Coder) string {
			id := fmt.Sprint("coder", len(coders))
			coders[id] = p
			return id
		}
		root := add(c.Proto(add))
		back, err := Parse(root, coders)
		if err != nil || back.String() != c.String() || back.nodes != c.nodes {
			t.Errorf("%s came back as %v, %v", c, back, err)
		}
		again := back.Proto(func(p *pipepb.Coder) string { return "again" })
		if !proto.Equal(again.Spec, coders[root].Spec) {
			t.Errorf("%v, not %v", again, coders[root])
		}
	}
}
