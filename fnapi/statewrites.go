package fnapi

import (
	"fmt"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"fresnel/internal/beam"
)

// Harnesses that fresnel boot starts send what a bundle has written of its state
// together (python/src/fresnel/_commits.py), where the runner has the capability:
// as one append to a key of the runner's own, of the requests that it stands for,
// each after its length. Python takes far longer to send a message than a cell
// takes to write (decision 035).
const (
	stateWritesCapability = "fresnel:protocol:state_writes:v1"
	stateWritesKey        = "fresnel:state_writes:v1"
)

// together is the data of a request that stands for others.
func together(req *fnpb.StateRequest) ([]byte, bool) {
	if string(req.GetStateKey().GetRunner().GetKey()) != stateWritesKey || req.GetAppend() == nil {
		return nil, false
	}
	return req.GetAppend().GetData(), true
}

// writeTogether applies the requests of such an append, in order, up to one that
// fails.
func writeTogether(h StateHandler, data []byte) error {
	for len(data) > 0 {
		part, n := protowire.ConsumeBytes(data)
		if n < 0 {
			return badWrites(protowire.ParseError(n))
		}
		data = data[n:]
		req := &fnpb.StateRequest{}
		if err := proto.Unmarshal(part, req); err != nil {
			return badWrites(err)
		}
		if !writes(req) {
			return badWrites(fmt.Errorf("request %q is no write", req.GetId()))
		}
		if _, nested := together(req); nested {
			return badWrites(fmt.Errorf("request %q stands for others itself", req.GetId()))
		}
		if _, err := handleState(h, req); err != nil {
			return err
		}
	}
	return nil
}

func badWrites(err error) error {
	return &beam.Error{Code: beam.BadData, What: "state that was written together cannot be read", Cause: err}
}
