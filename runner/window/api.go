// Package window has Beam's windowing model: window functions, triggers, panes,
// and the grouping by key and window that they govern.
//
// Signatures only, for those who code against them; the bodies follow.
package window

import (
	"errors"
	"time"

	"fresnel/internal/beam"
	"fresnel/internal/coder"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

var errTodo = errors.New("window: not yet")

// Kind says which window function a Fn is.
type Kind uint8

// The kinds.
const (
	// Custom is a function of the SDK: its windows are opaque to the runner,
	// but for what their coder tells.
	Custom Kind = iota
	Global
	Fixed
	Sliding
	Session
)

// Fn is a window function. It is comparable: equal values assign equally.
type Fn struct {
	Kind Kind
	// Size is the length of a fixed or sliding window, or the gap of sessions.
	Size time.Duration
	// Period is the time between the starts of sliding windows.
	Period time.Duration
	// Offset shifts fixed and sliding windows: one starts at Offset after the
	// epoch. It is in [0, Size) or [0, Period).
	Offset time.Duration
	// URN is that of a custom function.
	URN string
}

// Standard says whether Assign and Rewindow can stand in for the SDK.
func (f Fn) Standard() bool { return false }

// Assign appends the windows of an element at ts, for standard functions.
func (f Fn) Assign(dst []beam.Window, ts beam.EventTime) []beam.Window { return nil }

// Rewindow appends to dst the elements of block, encoded by in, with the windows
// that f assigns; timestamps, panes and values stay as they are. It returns
// their count and least timestamp (MaxEventTime if there are none): a sliding
// function whose period is above its size has instants without a window, whose
// elements vanish.
func (f Fn) Rewindow(dst []byte, in *coder.Windowed, block []byte) (out []byte, count int, minTimestamp beam.EventTime, err error) {
	return nil, 0, 0, errTodo
}

// Strategy is a parsed WindowingStrategy, immutable.
type Strategy struct{}

// ParseStrategy reads a windowing strategy whose window coder is windowCoder.
// Errors are *beam.Error, InvalidPipeline or Unsupported, and name the construct.
func ParseStrategy(ws *pipepb.WindowingStrategy, windowCoder *coder.Coder) (*Strategy, error) {
	return nil, errTodo
}

// Fn returns the window function.
func (s *Strategy) Fn() Fn { return Fn{} }

// WindowCoder returns the coder of the windows.
func (s *Strategy) WindowCoder() *coder.Coder { return nil }

// Merging says whether a grouping must merge windows (sessions before their
// grouping).
func (s *Strategy) Merging() bool { return false }

// AllowedLateness is how long after its end a window takes data.
func (s *Strategy) AllowedLateness() time.Duration { return 0 }

// GarbageTime returns the last watermark at which a window that ends with the
// instant maxTimestamp is alive: its end plus the allowed lateness, at most the
// end of the global window.
func (s *Strategy) GarbageTime(maxTimestamp beam.EventTime) beam.EventTime { return 0 }

// WindowsEqual says whether both strategies have the same windows.
func (s *Strategy) WindowsEqual(o *Strategy) bool { return false }

// IsIdentityAfter says whether a WindowInto of s, applied to elements windowed by
// prev, surely changes no element.
func (s *Strategy) IsIdentityAfter(prev *Strategy) bool { return false }

// FiresPerElement says whether the trigger counts elements (ElementCount, Always),
// so that a combiner before the grouping would change its panes.
func (s *Strategy) FiresPerElement() bool { return false }

// OnlyNonEmptyClosing returns s without empty closing panes. Python's SDK writes
// EMIT_ALWAYS in every strategy, whatever the user wants, and its runners emit
// no empty pane but an on-time one that the trigger asks for: translate calls
// it for strategies of Python pipelines.
func (s *Strategy) OnlyNonEmptyClosing() *Strategy { return nil }

// Config is what all shards of a group stage share.
type Config struct {
	Strategy *Strategy
	// Input is the coder of the input: windowed KV<k, v>. The output is
	// KV<k, iterable<v>> in the same windows.
	Input *coder.Windowed
	// Bounded says that the whole job is bounded: each key and window then has
	// one pane, on time, when the watermark is MaxEventTime, and no data is late.
	Bounded bool
	// Accumulators says that values are accumulators, of which any number may be
	// merged to one (DESIGN section 7).
	Accumulators bool
	// CompactAbove is how many accumulators a key and window holds before it asks
	// to have them merged; 0 is 64, negative is never.
	CompactAbove int
	// CustomMaxTimestamp returns the last instant of a window whose coder does
	// not tell. Without it, such windows are only grouped in bounded jobs, and
	// are taken to end with the global window.
	CustomMaxTimestamp func(raw []byte) (beam.EventTime, error)
	// CustomMerge merges the windows of one key for a custom merging function:
	// windows are encoded, and each may be in one merge at most.
	CustomMerge func(windows [][]byte) ([]Merge, error)
}

// Merge says that some windows become one.
type Merge struct {
	Sources [][]byte
	Result  []byte
}

// Grouping makes the shards of one group stage.
type Grouping struct{}

// NewGrouping checks c.
func NewGrouping(c Config) (*Grouping, error) { return nil, errTodo }

// NewShard returns an empty shard.
func (g *Grouping) NewShard() *Shard { return nil }

// RestoreShard returns the shard whose AppendState gave b.
func (g *Grouping) RestoreShard(b []byte) (*Shard, error) { return nil, errTodo }

// Block is a run of whole encoded windowed elements, owned by who receives it.
type Block struct {
	Data         []byte
	Count        int
	MinTimestamp beam.EventTime
}

// Output collects what a shard emits in one bundle, as blocks of about BlockSize.
// It is for one shard and one goroutine. Call Flush at the end of the bundle.
type Output struct {
	// Panes receives blocks of windowed KV<k, iterable<v>>.
	Panes func(Block)
	// Compact receives blocks of windowed KV<k, iterable<acc>> to be merged; each
	// element is answered by one KV<k, acc> in the same window (AddCompacted).
	// It may be nil where Config.Accumulators is false.
	Compact func(Block)
	// BlockSize is in bytes; 0 is 1 MB.
	BlockSize int
}

// Flush hands over the blocks begun.
func (o *Output) Flush() {}

// Shard is the state of a group stage for a slice of the keys. It belongs to one
// goroutine at a time.
type Shard struct{}

// Add takes a block of whole input elements that arrived when the input
// watermark was wm and the processing time was now. What is due at wm fires
// first; then each element is added, and fires what it makes ready. Processing
// time triggers fire in Advance only. The shard may keep block: it must not
// change. After an error, which is *beam.Error of BadData, the shard must not
// be used.
func (s *Shard) Add(block []byte, wm beam.EventTime, now time.Time, out *Output) error {
	return errTodo
}

// AddCompacted takes answers to what went to Output.Compact.
func (s *Shard) AddCompacted(block []byte, out *Output) error { return errTodo }

// Advance fires all that is due at the watermark wm and the processing time now.
// MaxEventTime closes every window.
func (s *Shard) Advance(wm beam.EventTime, now time.Time, out *Output) error { return errTodo }

// NextEventTime returns the least watermark at which Advance would do something.
func (s *Shard) NextEventTime() (wm beam.EventTime, ok bool) { return 0, false }

// NextProcessingTime returns the earliest time at which Advance would do
// something.
func (s *Shard) NextProcessingTime() (t time.Time, ok bool) { return time.Time{}, false }

// Hold returns the least hold on the output watermark, MaxEventTime if there is
// none.
func (s *Shard) Hold() beam.EventTime { return 0 }

// Bytes is about how much memory the shard holds.
func (s *Shard) Bytes() int64 { return 0 }

// Keys is how many keys have state: 0 in the append way, which does not know.
func (s *Shard) Keys() int { return 0 }

// Empty says that the shard holds nothing.
func (s *Shard) Empty() bool { return false }

// Dropped returns how many values were dropped since the shard was made: late
// beyond the allowed lateness, and after their trigger had finished.
func (s *Shard) Dropped() (late, closed int64) { return 0, 0 }

// AppendState appends the shard's whole state, for RestoreShard.
func (s *Shard) AppendState(dst []byte) []byte { return dst }
