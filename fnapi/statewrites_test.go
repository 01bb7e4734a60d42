package fnapi_test

import (
	"errors"
	"fmt"
	"testing"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"fresnel/fnapi"
	"fresnel/fnapi/fnapitest"
	"fresnel/internal/beam"
)

func clearing(key *fnpb.StateKey) *fnpb.StateRequest {
	return &fnpb.StateRequest{StateKey: key, Request: &fnpb.StateRequest_Clear{Clear: &fnpb.StateClearRequest{}}}
}

func appending(key *fnpb.StateKey, data string) *fnpb.StateRequest {
	return &fnpb.StateRequest{StateKey: key, Request: &fnpb.StateRequest_Append{Append: &fnpb.StateAppendRequest{Data: []byte(data)}}}
}

func delimited(reqs ...*fnpb.StateRequest) string {
	var data []byte
	for _, r := range reqs {
		wire, err := proto.Marshal(r)
		if err != nil {
			panic(err)
		}
		data = protowire.AppendBytes(data, wire)
	}
	return string(data)
}

// writesKey is the runner's own key that writes are appended to together.
func writesKey() *fnpb.StateKey {
	return &fnpb.StateKey{Type: &fnpb.StateKey_Runner_{Runner: &fnpb.StateKey_Runner{Key: []byte("fresnel:state_writes:v1")}}}
}

// writesTogether runs a bundle that writes so, and returns what its state was told.
func writesTogether(t *testing.T, data string, fail error) ([]string, error) {
	t.Helper()
	w := newRig(t, fnapi.Config{}).worker(func(b *fnapitest.Bundle) error {
		b.ReadAll()
		return b.Append(writesKey(), []byte(data))
	})
	b := bundle(stage(nil), &output{})
	s := &cells{fail: fail}
	b.State = s
	_, err := finish(t, w.Start(b))
	return s.log, err
}

func TestWritesThatComeTogetherAreAppliedInOrder(t *testing.T) {
	t.Parallel()
	k := bag("s", "k")
	log, err := writesTogether(t, delimited(appending(k, "a"), clearing(k), appending(k, "b"), appending(bag("s", "other"), "c")), nil)
	if got := fmt.Sprint(log); err != nil || got != "[append a clear append b append c]" {
		t.Error(got, err)
	}
}

func TestAWriteOfManyThatFailsFailsTheBundle(t *testing.T) {
	t.Parallel()
	broken := &beam.Error{Code: beam.Unavailable, What: "the store is away"}
	k := bag("s", "k")
	log, err := writesTogether(t, delimited(appending(k, "a"), appending(k, "b")), broken)
	if got := fmt.Sprint(log); !errors.Is(err, broken) || got != "[append a]" {
		t.Error(got, err)
	}
}

func TestWritesThatMakeNoSenseFailTheBundle(t *testing.T) {
	t.Parallel()
	k := bag("s", "k")
	get := &fnpb.StateRequest{StateKey: k, Request: &fnpb.StateRequest_Get{Get: &fnpb.StateGetRequest{}}}
	for name, data := range map[string]string{
		"cut short":     delimited(appending(k, "a"))[:4],
		"garbage":       "\x03\xff\xff\xff",
		"endless":       "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
		"a read":        delimited(get),
		"no request":    delimited(&fnpb.StateRequest{StateKey: k}),
		"others inside": delimited(appending(writesKey(), delimited(appending(k, "a")))),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log, err := writesTogether(t, data, nil)
			wantCode(t, err, beam.BadData, "written together")
			if len(log) > 0 {
				t.Error(log)
			}
		})
	}
}
