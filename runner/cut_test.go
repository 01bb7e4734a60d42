package runner

import (
	"fmt"
	"strings"
	"testing"

	"fresnel/fnapi"
	"fresnel/internal/coder"
	"fresnel/runner/engine"
	"fresnel/runner/store"
	"fresnel/translate"
)

type (
	fnapiSplit       = fnapi.Split
	fnapiApplication = fnapi.Application
	fnapiResidual    = fnapi.Residual
)

// cutting is a bundle of three shards with blocks of as many elements as given,
// numbered through.
func cutting(t *testing.T, shards ...[]int) (*harnessBundle, *bench) {
	t.Helper()
	b := newBench(t, 0)
	b.job.store = store.NewMemory()
	b.job.clock = newWallClock()
	st := &stage{plan: &translate.Stage{Name: "The stage"}}
	hb := &harnessBundle{x: &harnessExecutor{job: b.job, stage: st, input: windowed}}
	n := 0
	for shard, blocks := range shards {
		hb.b.Work = append(hb.b.Work, engine.ShardWork{Shard: shard})
		for _, count := range blocks {
			var data []byte
			for range count {
				data = append(data, elem(n, "k", fmt.Sprint(n))...)
				n++
			}
			if count > 0 {
				in := input{InputBlock: engine.InputBlock{Block: b.job.block(data, count, 0)}, shard: shard, data: data}
				hb.inputs = append(hb.inputs, in)
			}
		}
	}
	return hb, b
}

// values are the values of blocks by shard.
func (b *bench) values(_ *harnessBundle, all []engine.ShardBlocks) map[int]string {
	b.t.Helper()
	got := map[int]string{}
	for _, s := range all {
		var values []string
		for _, in := range s.Blocks {
			data := b.job.store.Block(uint64(in.Block.ID))
			count := 0
			for ; len(data) > 0; count++ {
				var el coder.Element
				n, err := windowed.Scan(data, &el)
				if err != nil {
					b.t.Fatal(err)
				}
				_, v, _ := pairs.SplitKV(el.Value)
				values = append(values, string(v[1:]))
				data = data[n:]
			}
			if count != in.Block.Count {
				b.t.Errorf("a block of %d elements is said to have %d", count, in.Block.Count)
			}
		}
		got[s.Shard] = strings.Join(values, " ")
	}
	return got
}
