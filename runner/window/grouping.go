package window

import (
	"fresnel/internal/beam"
	"fresnel/internal/coder"
	"fresnel/runner/store"
)

// Config is what all shards of a group stage share.
type Config struct {
	Strategy *Strategy
	// Input is the coder of the input: windowed KV<k, v>. The output is
	// KV<k, iterable<v>>, in windows of the same coder.
	Input *coder.Windowed
	// Bounded says that the whole job is bounded: each key and window then has
	// one pane, on time, when the watermark is MaxEventTime, whatever the
	// trigger, and no data is late.
	Bounded bool
	// Accumulators says that values are accumulators, of which any number may be
	// merged into one (DESIGN section 7).
	Accumulators bool
	// CompactAbove is how many accumulators a key and window may hold before it
	// asks to have them merged; 0 is 64, a negative number is never.
	CompactAbove int
	// CustomMaxTimestamp returns the last instant of a window whose coder does
	// not tell it. Without it such windows are grouped in bounded jobs only,
	// where they are taken to end with the global window.
	CustomMaxTimestamp func(raw []byte) (beam.EventTime, error)
	// CustomMerge merges the windows of one key, for a custom merging function.
	CustomMerge func(windows [][]byte) ([]Merge, error)
	// Spill takes what shards hold when they are asked to Relieve memory; nil keeps
	// all in it.
	Spill *store.Spill
	// Temp takes keys of the incremental way likewise; nil keeps them in memory.
	Temp *store.Temp
	// Crowded tells a shard in the midst of long work that it should Relieve memory;
	// it may be nil.
	Crowded func() bool
}

// Merge says that some windows become one. Windows are encoded; each is a
// source of one merge at most, and the result is a source or a new window.
type Merge struct {
	Sources [][]byte
	Result  []byte
}

const defaultCompactAbove = 64

// Grouping is what the shards of a group stage have in common. It is immutable.
type Grouping struct {
	Config
	key, value *coder.Coder
	// appending: the append way, else the incremental.
	appending bool
	// window is the coder of one window.
	window *coder.Coder
}

// NewGrouping checks c. Its error is a *beam.Error.
func NewGrouping(c Config) (*Grouping, error) {
	kv := c.Input.Value()
	if kv.Kind() != coder.KindKV || !c.Input.Known() {
		return nil, invalid("the input of a GroupByKey has the coder %s, not one of key-value pairs", kv)
	}
	if c.CompactAbove == 0 {
		c.CompactAbove = defaultCompactAbove
	}
	if c.CompactAbove < 0 {
		c.Accumulators = false
	}
	g := &Grouping{Config: c, key: kv.Component(0), value: kv.Component(1), window: c.Input.Window()}
	g.appending = !c.Strategy.merging && c.Bounded || c.Strategy.onePane() && !c.Accumulators
	return g, g.checkWindows()
}

func (g *Grouping) checkWindows() error {
	fn := g.Strategy.fn
	switch {
	case g.Strategy.merging && !g.sessions() && g.CustomMerge == nil:
		return unsupported("windows that the window function %s must merge", fn.describe())
	case g.opaque() && g.CustomMaxTimestamp == nil && !g.Bounded:
		return unsupported("windows of the coder %s, of which the end is not known, in an unbounded job", g.window)
	}
	return nil
}

// sessions says whether windows merge where they overlap.
func (g *Grouping) sessions() bool {
	return g.Strategy.merging && g.Strategy.fn.Kind == Session && g.window.Kind() == coder.KindIntervalWindow
}

// opaque says whether a window's coder does not tell where the window ends.
func (g *Grouping) opaque() bool {
	switch g.window.Kind() {
	case coder.KindGlobalWindow, coder.KindIntervalWindow, coder.KindCustomWindow:
		return false
	}
	return true
}

// maxTimestamp returns the last instant of an encoded window, at most that of
// the global window: one that ended later would never close.
func (g *Grouping) maxTimestamp(raw []byte) (beam.EventTime, error) {
	end, err := g.rawMaxTimestamp(raw)
	if err != nil {
		return 0, badBlock(err)
	}
	return min(max(end, beam.MinEventTime), beam.EndOfGlobalWindow), nil
}

func (g *Grouping) rawMaxTimestamp(raw []byte) (beam.EventTime, error) {
	switch {
	case !g.opaque():
		return g.window.MaxTimestamp(raw)
	case g.CustomMaxTimestamp != nil:
		return g.CustomMaxTimestamp(raw)
	}
	return beam.EndOfGlobalWindow, nil
}

// NewShard returns an empty shard.
func (g *Grouping) NewShard() *Shard {
	s := &Shard{g: g, wm: beam.MinEventTime}
	if g.appending {
		s.way = newAppending(s)
	} else {
		s.way = newIncremental(s)
	}
	return s
}

// badBlock is the error of a block that is not what the coder says.
func badBlock(err error) error {
	return &beam.Error{Code: beam.CodeOf(err), What: "a block of a grouping's input does not parse", Cause: err}
}
