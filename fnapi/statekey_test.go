package fnapi

import (
	"reflect"
	"testing"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// TestEntriesOfAMultimapAreAskedForByJava, with a field that Go's messages do not
// have.
func TestEntriesOfAMultimapAreAskedForByJava(t *testing.T) {
	t.Parallel()
	var variant []byte
	for i, s := range []string{"transform", "state", "window", "key"} {
		variant = protowire.AppendTag(variant, protowire.Number(i+1), protowire.BytesType)
		variant = protowire.AppendString(variant, s)
	}
	wire := protowire.AppendTag(nil, 10, protowire.BytesType)
	wire = protowire.AppendBytes(wire, variant)
	read := func(wire []byte) (StateKey, error) {
		key := &fnpb.StateKey{}
		if err := proto.Unmarshal(wire, key); err != nil {
			t.Fatal(err)
		}
		return stateKey(key)
	}
	got, err := read(wire)
	want := StateKey{Kind: StateMultimapEntries, Transform: "transform", Name: "state", Window: []byte("window"), Key: []byte("key")}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	bad := protowire.AppendTag(nil, 10, protowire.BytesType)
	for name, wire := range map[string][]byte{
		"another field":  protowire.AppendVarint(protowire.AppendTag(nil, 11, protowire.VarintType), 1),
		"no message":     protowire.AppendBytes(bad, []byte{0xff}),
		"another's type": protowire.AppendVarint(protowire.AppendTag(nil, 10, protowire.VarintType), 1),
	} {
		if k, err := read(wire); err == nil {
			t.Errorf("%s: %+v", name, k)
		}
	}
}
