package expansion

import (
	"strings"
	"testing"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"

	"fresnel/internal/beam"
	"fresnel/internal/coder"

	"context"
)

func TestConfigReportsTheFirstThingThatIsWrong(t *testing.T) {
	t.Parallel()
	c := NewConfig(map[string]any{"name": int64(7), "size": "big", "other": "secret-word"})
	_ = c.String("name")
	_, _ = c.Int("size")
	err := c.Err()
	if beam.CodeOf(err) != beam.InvalidPipeline || !strings.Contains(err.Error(), "name") || strings.Contains(err.Error(), "7") {
		t.Errorf("%v", err)
	}
}

func TestConfigRefusesSettingsThatNobodyAskedFor(t *testing.T) {
	t.Parallel()
	c := NewConfig(map[string]any{"a": "x", "unset": nil, "new": "secret-word", "fine": true})
	_ = c.String("a")
	c.Ignore("fine")
	err := c.Err()
	if beam.CodeOf(err) != beam.Unsupported || !strings.Contains(err.Error(), "new") || strings.Contains(err.Error(), "secret-word") {
		t.Errorf("%v", err)
	}
}

func TestConfigTakesRowsAndYAMLAlike(t *testing.T) {
	t.Parallel()
	for _, values := range []map[string]any{
		{"m": coder.Map{{Key: "k", Value: "v"}}, "l": []any{"a", "b"}, "n": int32(3)},
		{"m": map[string]any{"k": "v"}, "l": []any{"a", "b"}, "n": 3},
	} {
		c := NewConfig(values)
		n, ok := c.Int("n")
		if c.StringMap("m")["k"] != "v" || strings.Join(c.Strings("l"), "") != "ab" || n != 3 || !ok || c.Err() != nil {
			t.Errorf("%v: %v", values, c.Err())
		}
	}
}

// echo asks for fields of all types and returns a read of nothing.
type echo struct{}

func (echo) Transforms() []Transform {
	str := coder.Atomic(coder.TypeString)
	return []Transform{{URN: "classic", Expand: expandEcho},
		{URN: "schema", Managed: []string{"schema"}, Schema: []coder.Field{{Name: "s", Type: str}}, Expand: expandEcho}}
}

func expandEcho(_ context.Context, r *Request) (*Expansion, error) {
	c := r.Config
	_, _, _ = c.String("s"), c.Strings("l"), c.StringMap("m")
	if row := c.Row("r"); row != nil {
		_ = row.String("output")
	}
	_, _ = c.Int("n")
	_, _ = c.Bool("b"), c.Bytes("raw")
	if err := c.Err(); err != nil {
		return nil, err
	}
	return &Expansion{URN: "native", Outputs: []Output{{"output", coder.Bytes}}}, nil
}

// FuzzExpand gives the service configurations as clients send them, and worse.
func FuzzExpand(f *testing.F) {
	str, i64 := coder.Atomic(coder.TypeString), coder.Atomic(coder.TypeInt64)
	schema := &coder.Schema{ID: "x", Fields: []coder.Field{{Name: "s", Type: str}, {Name: "n", Type: i64.OrNull()},
		{Name: "m", Type: coder.MapOf(str, str).OrNull()}, {Name: "l", Type: coder.ArrayOf(str).OrNull()}}}
	row, err := coder.RowCoder(schema).Append(nil, coder.Row{Schema: schema, Values: []any{"a", int64(1), coder.Map{{Key: "k", Value: "v"}}, []any{"x"}}})
	if err != nil {
		f.Fatal(err)
	}
	classic, err := proto.Marshal(&pipepb.ExternalConfigurationPayload{Schema: schema.Proto(), Payload: row})
	if err != nil {
		f.Fatal(err)
	}
	asSchema, err := proto.Marshal(&pipepb.SchemaTransformPayload{Identifier: "schema", ConfigurationSchema: schema.Proto(), ConfigurationRow: row})
	if err != nil {
		f.Fatal(err)
	}
	managed := &coder.Schema{ID: "y", Fields: managedTransform.Schema}
	row, err = coder.RowCoder(managed).Append(nil, coder.Row{Schema: managed, Values: []any{"s: x\nm: {a: 1}\n", nil, "schema"}})
	if err != nil {
		f.Fatal(err)
	}
	asManaged, err := proto.Marshal(&pipepb.SchemaTransformPayload{Identifier: managedURN, ConfigurationSchema: managed.Proto(), ConfigurationRow: row})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("classic", classic)
	f.Add(schemaTransformURN, asSchema)
	f.Add(schemaTransformURN, asManaged)
	s := New(echo{})
	f.Fuzz(func(t *testing.T, urn string, payload []byte) {
		res, err := s.Expand(context.Background(), &jobpb.ExpansionRequest{Namespace: "n", Transform: &pipepb.PTransform{
			UniqueName: "T", Spec: &pipepb.FunctionSpec{Urn: urn, Payload: payload}}})
		if err != nil || res.GetError() == "" && res.GetTransform() == nil {
			t.Errorf("%v, %v", res, err)
		}
	})
}
