package runner

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"fresnel/internal/coder"
	"fresnel/runner/engine"
)

// TestI11_ATokenNeverServesStateThatIsNotCommitted runs random bundles over
// workers that cache all they read and write under the token of their bundle, as
// the Python SDK does: what a bundle finds in the cache is always what was
// committed last.
func TestI11_ATokenNeverServesStateThatIsNotCommitted(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 11))
		const shards, workers = 5, 3
		c := newCaches("job", shards)
		committed := make([]int, shards)
		cached := map[string]int{} // by token and shard
		type running struct {
			b     engine.Bundle
			token string
		}
		var inFlight []running
		busy := map[int]bool{}
		hits, value := 0, 0
		for id := range 400 {
			if len(inFlight) > 0 && (r.IntN(2) == 0 || len(busy) == shards) {
				i := r.IntN(len(inFlight))
				b := inFlight[i]
				inFlight = append(inFlight[:i], inFlight[i+1:]...)
				commit := r.IntN(5) > 0
				for _, w := range b.b.Work {
					if delete(busy, w.Shard); commit {
						committed[w.Shard] = cached[fmt.Sprint(b.token, w.Shard)]
					}
				}
				c.settled(b.b.ID, commit)
				continue
			}
			b := engine.Bundle{ID: engine.BundleID(id + 1), Worker: r.IntN(workers)}
			for s := range shards {
				if !busy[s] && r.IntN(3) == 0 {
					busy[s] = true
					b.Work = append(b.Work, engine.ShardWork{Shard: s})
				}
			}
			token := string(c.token(b))
			for _, w := range b.Work {
				key := fmt.Sprint(token, w.Shard)
				if have, ok := cached[key]; ok {
					if hits++; have != committed[w.Shard] {
						t.Fatalf("seed %d: worker %d finds %d of shard %d under %s, but %d is committed", seed, b.Worker, have, w.Shard, token, committed[w.Shard])
					}
				}
				value++
				cached[key] = value // written before anybody knows how the bundle ends
			}
			inFlight = append(inFlight, running{b, token})
		}
		if hits == 0 {
			t.Errorf("seed %d: nothing was ever found in a cache", seed)
		}
	}
}

// TestI11_ATokenStaysWhileNothingElseHappens: caches are worth something.
func TestI11_ATokenStaysWhileNothingElseHappens(t *testing.T) {
	t.Parallel()
	c := newCaches("job", 4)
	id := engine.BundleID(0)
	bundle := func(worker int, commit bool, shards ...int) string {
		id++
		b := engine.Bundle{ID: id, Worker: worker}
		for _, s := range shards {
			b.Work = append(b.Work, engine.ShardWork{Shard: s})
		}
		token := c.token(b)
		c.settled(id, commit)
		return string(token)
	}
	first := bundle(0, true, 0, 1)
	if bundle(0, true, 1) != first || bundle(0, true, 2) != first {
		t.Error("the token changed though the worker had all its shards from the start")
	}
	other := bundle(1, true, 3)
	if other == first {
		t.Error("two workers have one token")
	}
	if bundle(0, true, 3) != first {
		t.Error("the token changed for a shard that the worker had never had")
	}
	if bundle(1, true, 3) == other {
		t.Error("the token stayed though another worker had the shard meanwhile")
	}
	if bundle(0, true, 0) != first {
		t.Error("the token of a worker changed with another's")
	}
	failed := bundle(0, false, 0)
	if failed != first || bundle(0, true, 1) == first {
		t.Error("the token stayed after a bundle that was not committed")
	}
	if newCaches("other job", 4).prefix == c.prefix {
		t.Error("two jobs have one token")
	}
}

// TestI11_StateIsRightWithCachesOn: harnesses that cache state as Python does, on
// several workers that die, count right.
func TestI11_StateIsRightWithCachesOn(t *testing.T) {
	r := newRig(t)
	r.options["experiments"] = []any{"sdk_workers=2"}
	splits := make([][][]byte, 4)
	for i := range 240 {
		splits[i%4] = append(splits[i%4], at(0, fmt.Sprint("k", i%12), fmt.Sprint(i)))
	}
	r.source("in", &fakeSource{batches: splits, bounded: true})
	var mu sync.Mutex
	cache := map[string]int{} // by worker, token and key: a process outlives no worker
	var bundles, hits atomic.Int32
	r.do["work"] = func(c *call) error {
		n := bundles.Add(1)
		tokens := c.Request.GetCacheTokens()
		if len(tokens) != 1 || tokens[0].GetUserState() == nil {
			return fmt.Errorf("tokens %v", tokens)
		}
		token := string(tokens[0].GetToken())
		err := c.events(coder.GlobalWindow, func(e *item) error {
			name := c.Harness.ID + token + e.key
			mu.Lock()
			count, ok := cache[name]
			mu.Unlock()
			if ok {
				hits.Add(1)
			} else {
				all, err := c.bag(str(e.key), nil)
				if err != nil {
					return err
				}
				count = len(all)
			}
			mu.Lock()
			cache[name] = count + 1
			mu.Unlock()
			return firstError(c.Append(bagKey(str(e.key), nil), str("x")), c.out(e.pair(e.key, fmt.Sprint(count+1))))
		}, func(string, *coder.Timer) error { return nil })
		switch {
		case n%9 == 5 && n < 40:
			return c.dies()
		case n%7 == 3 && n < 40:
			return fmt.Errorf("no")
		}
		return err
	}
	r.options["streaming"] = true
	r.options["bundle_retries"] = 10
	out := r.sink("out")
	p := newPipe().read("read", "in", "a:").pardo("work", stateful("timer"), "in=a", "out=b:").write("write", "out", "b")
	r.start(p).mustEnd()
	var want []string
	for k := range 12 {
		for n := range 20 {
			want = append(want, fmt.Sprintf("k%d=%d", k, n+1))
		}
	}
	out.want(want...)
	if hits.Load() == 0 {
		t.Error("nothing was found in a cache")
	}
}

// TestI11_ASideInputsTokenChangesWithItsContent.
func TestI11_ASideInputsTokenChangesWithItsContent(t *testing.T) {
	r := newRig(t)
	elements, _ := numbers(4)
	r.do["make"] = create(elements...)
	r.do["makeSide"] = create(elements...)
	var mu sync.Mutex
	tokens := map[string]bool{}
	r.do["work"] = func(c *call) error {
		for _, token := range c.Request.GetCacheTokens() {
			if s := token.GetSideInput(); s.GetSideInputId() == "side" && s.GetTransformId() == "work" {
				mu.Lock()
				tokens[string(token.GetToken())] = true
				mu.Unlock()
			}
		}
		return same(c)
	}
	r.sink("out")
	p := newPipe().impulse("impulse", "i").pardo("make", nil, "in=i", "out=a:").impulse("impulse2", "i2").
		pardo("makeSide", nil, "in=i2", "out=s:").reshuffle("spread", "in=a", "out=b:").
		pardo("work", withSide("iterable"), "in=b", "side=s", "out=c:").write("write", "out", "c")
	one := r.start(p)
	one.mustEnd()
	if len(tokens) != 1 {
		t.Errorf("tokens %v of a side input that does not change", tokens)
	}
	r.sink("out")
	two := r.start(p)
	two.mustEnd()
	if len(tokens) != 2 {
		t.Errorf("tokens %v of the side inputs of two jobs", tokens)
	}
	st := one.job.stages[0]
	if a, b := one.job.sideToken(st, 0, 1), one.job.sideToken(st, 0, 2); string(a) == string(b) || !strings.Contains(string(a), string(one.id)) {
		t.Errorf("tokens %s and %s of two versions", a, b)
	}
}
