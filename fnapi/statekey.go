package fnapi

import (
	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"google.golang.org/protobuf/encoding/protowire"

	"fresnel/internal/beam"
)

// stateKey flattens the key of a state request.
func stateKey(key *fnpb.StateKey) (StateKey, error) {
	switch k := key.GetType().(type) {
	case *fnpb.StateKey_Runner_:
		return StateKey{Kind: StateRunner, Key: k.Runner.GetKey()}, nil
	case *fnpb.StateKey_IterableSideInput_:
		return sideInputKey(StateIterableSideInput, k.IterableSideInput), nil
	case *fnpb.StateKey_MultimapKeysSideInput_:
		return sideInputKey(StateMultimapKeysSideInput, k.MultimapKeysSideInput), nil
	case *fnpb.StateKey_MultimapKeysValuesSideInput_:
		return sideInputKey(StateMultimapKeysValuesSideInput, k.MultimapKeysValuesSideInput), nil
	case *fnpb.StateKey_MultimapSideInput_:
		flat := sideInputKey(StateMultimapSideInput, k.MultimapSideInput)
		flat.Key = k.MultimapSideInput.GetKey()
		return flat, nil
	case *fnpb.StateKey_BagUserState_:
		return userStateKey(StateBag, k.BagUserState), nil
	case *fnpb.StateKey_MultimapKeysUserState_:
		return userStateKey(StateMultimapKeys, k.MultimapKeysUserState), nil
	case *fnpb.StateKey_MultimapUserState_:
		flat := userStateKey(StateMultimap, k.MultimapUserState)
		flat.MapKey = k.MultimapUserState.GetMapKey()
		return flat, nil
	case *fnpb.StateKey_OrderedListUserState_:
		flat := userStateKey(StateOrderedList, k.OrderedListUserState)
		if bounds := k.OrderedListUserState.GetRange(); bounds != nil {
			flat.HasRange, flat.Start, flat.End = true, bounds.GetStart(), bounds.GetEnd()
		}
		return flat, nil
	}
	if flat, ok := multimapEntriesKey(key.ProtoReflect().GetUnknown()); ok {
		return flat, nil
	}
	return StateKey{}, &beam.Error{Code: beam.BadData, What: "a state request has a key of an unknown kind"}
}

type sideInput interface {
	GetTransformId() string
	GetSideInputId() string
	GetWindow() []byte
}

func sideInputKey(kind StateKind, k sideInput) StateKey {
	return StateKey{Kind: kind, Transform: beam.TransformID(k.GetTransformId()), Name: k.GetSideInputId(), Window: k.GetWindow()}
}

type userState interface {
	GetTransformId() string
	GetUserStateId() string
	GetWindow() []byte
	GetKey() []byte
}

func userStateKey(kind StateKind, k userState) StateKey {
	return StateKey{Kind: kind, Transform: beam.TransformID(k.GetTransformId()), Name: k.GetUserStateId(), Window: k.GetWindow(), Key: k.GetKey()}
}

// multimapEntriesField is the number of StateKey's multimap_entries_user_state: of
// all keys of a multimap and their values. Java's SDK has it since 2.70, and Go's
// messages have not.
const multimapEntriesField = 10

// multimapEntriesKey reads that variant from what Go does not know of a StateKey.
func multimapEntriesKey(unknown []byte) (k StateKey, ok bool) {
	err := eachField(unknown, func(f field) error {
		if f.num != multimapEntriesField || f.typ != protowire.BytesType {
			return nil
		}
		k, ok = StateKey{Kind: StateMultimapEntries}, true
		return eachField(f.bytes, func(f field) error {
			switch f.num {
			case 1:
				k.Transform = beam.TransformID(f.bytes)
			case 2:
				k.Name = string(f.bytes)
			case 3:
				k.Window = f.bytes
			case 4:
				k.Key = f.bytes
			}
			return nil
		})
	})
	return k, ok && err == nil
}
