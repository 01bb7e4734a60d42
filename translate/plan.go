package translate

import (
	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"

	"fresnel/internal/beam"
)

// Plan is the executable graph of a pipeline: stages, and edges that carry
// blocks between them. It is pure data, printable (Plan.String) and comparable;
// of the pipeline proto it came from it shares the bytes of payloads, nothing that
// changes.
//
// Flatten, Reshuffle and Redistribute at a stage boundary are no stages: they
// are edges (several edges into one input; an edge with another routing).
type Plan struct {
	// Stages are in topological order, feedback edges aside.
	Stages []*Stage
	// Edges connect outputs of stages to inputs of stages.
	Edges []Edge
	// Environments are those that stages use.
	Environments map[beam.EnvironmentID]*pipepb.Environment
	// Coders holds the pipeline's coders and those that the passes added; ids in
	// stages refer to it.
	Coders map[string]*pipepb.Coder
	// Windowings holds the windowing strategies that stages refer to.
	Windowings map[beam.WindowingID]*pipepb.WindowingStrategy
	// Streaming is set by the option or by an unbounded collection.
	Streaming bool
}

// StageKind tells which executor runs a stage.
type StageKind uint8

// The kinds of stages.
const (
	// Impulse emits one empty byte string in the global window.
	Impulse StageKind = iota
	// Harness runs fused user code in an SDK harness.
	Harness
	// Group is a GroupByKey.
	Group
	// Source reads a connector's source in splits.
	Source
	// Sink writes a connector's sink through its outbox.
	Sink
	// TestStream plays a TestStream payload.
	TestStream
	// Rewindow assigns windows of a standard function to elements without a
	// harness; nothing else of them changes.
	Rewindow
)

// Stage is a node of the plan. Exactly the part that Kind names is set.
type Stage struct {
	ID   beam.StageID
	Kind StageKind
	// Name is for people: the user's names of what is fused in it.
	Name string
	// Transforms are the user's transforms that the stage runs, by id in the
	// pipeline, with their unique names.
	Transforms map[beam.TransformID]string
	// Inputs are the main inputs: at most one, but for a Group that has a second
	// one for merged accumulators that come back (Input 1). An input that no edge
	// feeds is empty: its watermark is at infinity from the start.
	Inputs []Collection
	// Outputs are what the stage emits, in the order that Edge.Output counts.
	Outputs []Collection
	// Keyed stages own state by key: their input is dealt by key hash, and a
	// shard of theirs is in one bundle at a time (I4).
	Keyed bool
	// StableInput: the stage's input must be durable before it runs
	// (RequiresStableInput).
	StableInput bool

	Harness    *HarnessStage
	Group      *GroupStage
	Connector  *ConnectorStage
	TestStream *TestStreamStage
	Rewindow   *RewindowStage
}

// Collection is a PCollection as it stands at a stage boundary: its elements
// are on the wire in the coder WindowedCoder.
type Collection struct {
	ID beam.PCollectionID
	// Name is the unique name of the transform that made it and its output tag.
	Name string
	// Coder is the element coder (length-prefixed where the runner does not know
	// it), Windowed the windowed_value coder around it; both in Plan.Coders. An
	// iterable that a Group writes may be a state_backed_iterable: its reader takes
	// tokens in it.
	Coder    string
	Windowed string
	// Windowing is its windowing strategy.
	Windowing beam.WindowingID
	Bounded   bool
}

// Routing says how the elements of an edge find their shard.
type Routing uint8

// The routings.
const (
	// Keep leaves a block in its shard (modulo the consumer's number of shards).
	Keep Routing = iota
	// ByKey deals each element by the hash of its encoded key.
	ByKey
	// Spread deals over all shards, in no order (Reshuffle).
	Spread
)

// EdgeKind says what an edge feeds.
type EdgeKind uint8

// The kinds of edges.
const (
	// MainInput feeds the main input Stage.Inputs[Edge.Input].
	MainInput EdgeKind = iota
	// SideInput feeds Harness.SideInputs[Edge.Input].
	SideInput
	// Feedback feeds Stage.Inputs[Edge.Input] of an earlier stage; it holds back
	// no watermark (the compaction of accumulators).
	Feedback
)

// Edge carries what From emits on its Output to an input of To.
type Edge struct {
	From   beam.StageID
	Output int
	To     beam.StageID
	Kind   EdgeKind
	Input  int
	// Routing is for main inputs and feedback.
	Routing Routing
}

// HarnessStage is fused user code.
type HarnessStage struct {
	Environment beam.EnvironmentID
	// Descriptor has everything but endpoints.
	Descriptor *fnpb.ProcessBundleDescriptor
	// Source is the id of the descriptor's data source transform.
	Source beam.TransformID
	// Sinks are the ids of its data sink transforms, in the order of
	// Stage.Outputs.
	Sinks []beam.TransformID
	// SideInputs are in the order that Edge.Input counts.
	SideInputs []SideInputSpec
	// States and Timers are what its stateful transforms declare.
	States []StateSpec
	Timers []TimerSpec
	// ProcessSized is the id of the transform that processes sized restrictions,
	// if that is what the stage begins with: its input is KV<KV<E, R>, double>.
	ProcessSized beam.TransformID
	// Truncate, for a drain, turns elements of the input into truncated ones of
	// the same coder, or none. It is a stage of its own that is not in Plan.Stages
	// and has no edges; its SideInputs are those that ProcessSized has, by the
	// same names. It is nil where the SDK cannot truncate.
	Truncate *Stage
	// TimeSorted: RequiresTimeSortedInput, of a transform with state.
	TimeSorted bool
	// Finalizes: a transform in it asks for bundle finalization.
	Finalizes bool
	// UnboundedSDF: the restriction may never end; the runner checkpoints.
	UnboundedSDF bool
}

// SideInputSpec is one side input of a transform in a harness stage.
type SideInputSpec struct {
	Transform beam.TransformID
	// Name is the local input name = side_input_id.
	Name string
	// Multimap tells the access pattern: multimap by key, else iterable.
	Multimap bool
	// Collection is the side input as it arrives.
	Collection Collection
	// MainWindowing is the windowing of the transform's main input.
	MainWindowing beam.WindowingID
	// StandardMapping: a main window sees the side window that holds its maximum
	// timestamp (of several, the earliest); the side input's window function is one
	// of the runner's.
	StandardMapping bool
	// MapWindows, for any other mapping, maps main windows to side windows in the
	// SDK: KV<bytes, main window> to KV<bytes, side window> in the global window,
	// the bytes being the runner's own to match answers with questions. It is a
	// stage that is not in Plan.Stages and has no edges.
	MapWindows *Stage
}

// StateKind is the protocol of a user state.
type StateKind uint8

// The protocols.
const (
	BagState StateKind = iota
	MultimapState
	OrderedListState
)

// StateSpec is one user state cell family of a transform.
type StateSpec struct {
	Transform beam.TransformID
	Name      string
	Kind      StateKind
	// Coder is the id, in Plan.Coders, of the coder of the values on the wire: a
	// bag's elements, an ordered list's, the values of a multimap.
	Coder string
	// KeyCoder is that of a multimap's keys, empty for other kinds.
	KeyCoder string
}

// TimerSpec is one timer family of a transform.
type TimerSpec struct {
	Transform beam.TransformID
	Family    string
	// ProcessingTime is the domain; event time otherwise.
	ProcessingTime bool
	// Coder is the id of the timer coder in Plan.Coders.
	Coder string
	// WindowExpiration: the runner sets a timer of this family, for every key and
	// window that the transform saw, at the end of the window and its allowed
	// lateness.
	WindowExpiration bool
}

// GroupStage is a GroupByKey.
type GroupStage struct {
	// Accumulators is set where the values are accumulators of a lifted combiner;
	// outputs: 0 the groups, 1 the groups that are to be merged and come back
	// through a Feedback edge.
	Accumulators bool
	// MergeWindows, for a merging window function of the SDK's own, merges the
	// windows of a key: KV<bytes, iter<window>> to KV<bytes, KV<iter<window>,
	// iter<KV<window, iter<window>>>>> in the global window: those that stay as
	// they are, and the new ones with those that went into each. The bytes are the
	// runner's own. It is a stage that is not in Plan.Stages and has no edges.
	MergeWindows *Stage
}

// ConnectorStage is a native source or sink.
type ConnectorStage struct {
	URN     string
	Payload []byte
	// Transform is the user's full transform name.
	Transform string
}

// TestStreamStage is a TestStream.
type TestStreamStage struct {
	Payload *pipepb.TestStreamPayload
	// Tags maps the payload's output tags to Stage.Outputs.
	Tags map[string]int
	// Prefix: the payload's elements get their length in front, as a varint, to
	// be what the outputs' coder says (SDKs encode them as outermost values); else
	// they have it already.
	Prefix bool
}

// RewindowStage is a WindowInto with a standard window function.
type RewindowStage struct {
	// Windowing is the strategy of the output, whose window function assigns.
	Windowing beam.WindowingID
}
