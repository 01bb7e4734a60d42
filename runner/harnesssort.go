package runner

import (
	"time"

	"fresnel/fnapi"
	"fresnel/internal/beam"
	"fresnel/internal/coder"
	"fresnel/runner/engine"
	"fresnel/runner/state"
)

// A stage with RequiresTimeSortedInput sees the elements of each key in the
// order of their timestamps. What comes is put aside in the shard's state, and
// processed once the watermark has passed its time and the allowed lateness;
// what comes later still is dropped. Until then it holds the output watermark.

// sorter puts a stage's elements in order; nil where they are processed as they
// come.
type sorter struct {
	input    *coder.Windowed
	lateness int64 // milliseconds
}

// maxSorted is about how many bytes of a shard go in one bundle; the rest is due
// at once again.
const maxSorted = 1 << 20

func (x *harnessExecutor) newSorter() *sorter {
	if !x.stage.plan.Harness.TimeSorted {
		return nil
	}
	return &sorter{input: x.input, lateness: x.job.plan.Windowings[x.stage.plan.Inputs[0].Windowing].GetAllowedLateness()}
}

// upTo is the time up to which everything has come at a watermark.
func (s *sorter) upTo(wm beam.EventTime) beam.EventTime {
	if wm >= beam.MaxEventTime {
		return wm
	}
	return wm.AddMillis(-s.lateness)
}

// putAside keeps the bundle's input for later.
func (hb *harnessBundle) putAside() error {
	s := hb.x.sorter
	if s == nil {
		return nil
	}
	least := s.upTo(hb.b.Watermark)
	var el coder.Element
	for _, in := range hb.inputs {
		for data := in.data; len(data) > 0; {
			n, err := s.input.Scan(data, &el)
			if err != nil {
				return hb.x.stage.badData(err)
			}
			if el.Timestamp < least {
				hb.dropped++
			} else {
				hb.shards[in.shard].Sort(el.Timestamp, el.Raw)
			}
			data = data[n:]
		}
	}
	hb.inputs = nil
	return nil
}

// takeSorted makes what is due of the shards the bundle's input.
func (hb *harnessBundle) takeSorted() {
	s := hb.x.sorter
	if s == nil {
		return
	}
	for _, work := range hb.b.Work {
		data, count, least := hb.shards[work.Shard].TakeSorted(s.upTo(hb.b.Watermark), maxSorted)
		if count > 0 {
			in := input{shard: work.Shard, data: data, own: true}
			in.Block.Count, in.Block.MinTime = count, least
			hb.inputs = append(hb.inputs, in)
		}
	}
}

// sortedDue is the watermark at which the first element of a shard is due,
// engine.NoEvent if none waits.
func (hb *harnessBundle) sortedDue(sh *state.Shard) beam.EventTime {
	if s := hb.x.sorter; s != nil {
		if first, ok := sh.FirstSorted(); ok {
			return first.AddMillis(s.lateness)
		}
	}
	return engine.NoEvent
}

// timersUpTo is the watermark at which a shard's timers fire: they go to the
// harness before the elements, so not those after the first of these.
func (hb *harnessBundle) timersUpTo(shard int) beam.EventTime {
	return min(hb.b.Watermark, hb.sortedDue(hb.shards[shard])-1)
}

// idled is the result of a bundle that needed no harness. It says nothing about
// what elements cost, but where they were all put aside.
func (hb *harnessBundle) idled(since time.Time) *fnapi.Result {
	if hb.x.sorter == nil {
		return &fnapi.Result{Elapsed: -1}
	}
	return &fnapi.Result{Elapsed: time.Since(since)}
}
