// Package translate makes the plan of a pipeline: the stages that the runner
// executes and the edges that carry blocks between them. It is a list of passes,
// each a pure function over a small graph of leaf transforms, and it works on
// protos alone: no transport, no clock, no files. No pipeline, however malformed,
// makes it panic; what cannot be run is refused with the transform's name.
//
//	pipeline proto                      what the pass leaves
//	  │ unfold      the parts of stages that the client has fused by itself
//	  │ leaves      leaf transforms and known composites, checked one by one
//	  │ link        producers, readers, topological order; no cycles
//	  │ combine     precombine, group, merge, extract for each CombinePerKey
//	  │ splittable  pair, split and size, process for each splittable DoFn
//	  │ teststream  TestStream's elements pass through the SDK first
//	  │ windowing   no WindowInto that changes nothing
//	  │ fuse        every node in a stage, or nothing but edges
//	  │ rewindow    standard WindowIntos at the edge of a stage leave the harness
//	  │ connect     edges, and the coder of every collection that crosses
//	  │ compact     groups of accumulators get them merged early
//	  │ iterables   large groups may go out as tokens of the state service
//	  ▼ plan        stages in order, bundle descriptors
//	Plan
//
// # Stages and edges
//
// A harness stage has one data source and a data sink for each output that
// someone reads. In its descriptor they are the transforms with the URNs
// beam:runner:source:v1 and beam:runner:sink:v1, whose payload is a RemoteGrpcPort
// with the coder's id and no endpoint: fnapi fills that in, together with the
// descriptor's state and timer endpoints and its id. Their ids are
// HarnessStage.Source and Sinks.
//
// Flatten is in a harness stage if all of its inputs are made there and its output
// is read there; else it is edges from several stages into one input. Reshuffle and
// Redistribute are edges with another routing; of several in a row, the last one
// counts. A Flatten of nothing leaves an input that no edge feeds: such an input
// is empty, its watermark at infinity from the start.
//
// # Coders
//
// What crosses between stages is in a coder that the runner can skip: coders that
// it does not know are wrapped in length_prefix, as deep inside as possible, so
// that keys and values stay apart; windows of the SDK's own kinds travel as
// custom_window around a length prefix. The collection that a harness stage reads,
// and its side inputs, are declared in its descriptor in the coder that they have
// on the wire, so that what the SDK makes of that coder (state keys, residuals)
// is the same bytes; so are states and timers. Collections that a harness only
// writes keep their coder; the data sink has the one of the wire. Those of windowed
// values have a length prefix around them: Java takes them for something else.
//
// A harness writes in whatever coder the reader asks for. What comes out of a
// GroupByKey is in the coder of what went in: SDKs declare a deterministic
// coder for keys at the input only. Where the coder of a stage of the runner's own
// is not what a reader needs, a harness stage without transforms stands between.
package translate
