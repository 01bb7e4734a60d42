package runner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"

	"fresnel/fnapi/fnapitest"
	"fresnel/internal/beam"
	"fresnel/internal/coder"
)

// TestAPipelineWithNothingInItIsDone: as it is on Beam's other runners.
func TestAPipelineWithNothingInItIsDone(t *testing.T) {
	for name, p := range map[string]pipe{
		"no transforms":              newPipe(),
		"a root with no steps":       newPipe().add("root", "", nil),
		"a PCollection nobody reads": newPipe().impulse("impulse", "i"),
	} {
		t.Run(name, func(t *testing.T) { newRig(t).start(p).mustEnd() })
	}
}

// TestADrainFinishesWhatWasRead: sources stop, and all that they have emitted
// arrives, once.
func TestADrainFinishesWhatWasRead(t *testing.T) {
	r := newRig(t)
	in := r.source("in", &fakeSource{batches: [][][]byte{nil, nil, nil},
		more: func(split, n int) []byte { return at(beam.EventTime(n), fmt.Sprint("s", split), fmt.Sprint(n)) }})
	r.do["join"] = groupsIn(coder.GlobalWindow, mapping(func(e *item) [][]byte {
		return [][]byte{e.pair(e.key, fmt.Sprint(len(e.values)))}
	}))
	out, all := r.sink("out"), r.sink("all")
	p := newPipe().read("read", "in", "u_a:").write("all", "all", "u_a").
		group("group", "in=u_a", "out=u_b:grouped").pardo("join", nil, "in=u_b", "out=u_c:").write("write", "out", "u_c")
	j := r.start(p)
	all.await(200)
	close(j.drain)
	j.mustEnd()
	var want []string
	got := all.got()
	for split := range 3 {
		n := 0
		for _, s := range got {
			if strings.HasPrefix(s, fmt.Sprintf("s%d=", split)) {
				n++
			}
		}
		for i := range n {
			if !slices.Contains(got, fmt.Sprintf("s%d=%d", split, i)) {
				t.Errorf("element %d of split %d is missing", i, split)
			}
		}
		want = append(want, fmt.Sprintf("s%d=%d", split, n))
		if in.told[fmt.Sprint(split)] != n {
			t.Errorf("the source was told position %d of split %d, want %d", in.told[fmt.Sprint(split)], split, n)
		}
	}
	out.want(want...)
}

// TestAJobCanBeCancelledAtAnyMoment: it ends, and nothing of it is left.
func TestAJobCanBeCancelledAtAnyMoment(t *testing.T) {
	r := newRig(t)
	r.options["experiments"] = []any{"sdk_workers=2"}
	var moments atomic.Pointer[chan struct{}]
	tell := func() {
		select {
		case *moments.Load() <- struct{}{}:
		default:
		}
	}
	r.source("in", &fakeSource{batches: [][][]byte{nil, nil},
		more: func(_, n int) []byte {
			tell()
			return slices.Concat(at(beam.EventTime(n), "a", fmt.Sprint(n)), at(beam.EventTime(n), "b", fmt.Sprint(n)))
		}})
	r.do["work"] = func(c *call) error {
		tell()
		err := c.events(coder.GlobalWindow, func(e *item) error {
			return firstError(c.Append(bagKey(str(e.key), nil), str(e.value)), c.out(e.Raw))
		}, func(string, *coder.Timer) error { return nil })
		tell()
		return err
	}
	r.rest = func(c *call) error {
		tell()
		return fnapitest.Echo(c.Bundle)
	}
	p := func() pipe {
		return newPipe().read("read", "in", "u_a:").pardo("work", stateful("timer"), "in=u_a", "out=u_b:").
			reshuffle("spread", "in=u_b", "out=u_d:").pardo("next", nil, "in=u_d", "out=u_c:").write("write", "out", "u_c")
	}
	for moment := range 40 {
		r.sink("out")
		next := make(chan struct{}, 100)
		moments.Store(&next)
		j := r.start(p())
		for range moment {
			await(t, next, "moment")
		}
		if moment == 10 && goroutinesOf(j.id) == "" {
			t.Error("the job's goroutines do not show")
		}
		j.cancel()
		if err := j.end(); !errors.Is(err, context.Canceled) {
			t.Fatalf("moment %d: the job ended with %v", moment, err)
		}
		if n := j.job.store.BlockBytes(); n != 0 {
			t.Errorf("%d bytes of blocks after the end", n)
		}
	}
}

// TestNothingHoldsUpACancel: harnesses that do not answer, brokers and databases
// that do not either.
func TestNothingHoldsUpACancel(t *testing.T) {
	for name, prepare := range map[string]func(r *rig, reached func()) pipe{
		"harness": func(r *rig, reached func()) pipe {
			r.do["make"] = func(c *call) error { reached(); return fnapitest.Hang(c.Bundle) }
			return simple()
		},
		"state": func(r *rig, reached func()) pipe {
			elements, _ := numbers(5)
			r.do["make"] = create(elements...)
			r.do["work"] = func(c *call) error {
				if _, err := c.bag(str("k0"), nil); err != nil {
					_ = err // of a key that may be in another bundle
				}
				reached()
				return fnapitest.Hang(c.Bundle)
			}
			return newPipe().impulse("impulse", "i").pardo("make", nil, "in=i", "out=a:").
				pardo("work", stateful("timer"), "in=a", "out=b:").write("write", "out", "b")
		},
		"source": func(r *rig, reached func()) pipe {
			r.source("in", &fakeSource{batches: [][][]byte{nil}, blocks: reached})
			return endless()
		},
		"unreachable source": func(r *rig, reached func()) pipe {
			r.source("in", &fakeSource{batches: [][][]byte{nil}, fail: func(call string, _, _ int) error {
				reached()
				return &beam.Error{Code: beam.Unavailable, What: "no broker"}
			}})
			return endless()
		},
		"sink": func(r *rig, reached func()) pipe {
			elements, _ := numbers(5)
			r.do["make"] = create(elements...)
			r.sinks["out"].blocks = reached
			return simple()
		},
		"unreachable sink": func(r *rig, reached func()) pipe {
			elements, _ := numbers(5)
			r.do["make"] = create(elements...)
			r.sinks["out"].before = func(int, int64, int) error {
				reached()
				return &beam.Error{Code: beam.Unavailable, What: "no database"}
			}
			return simple()
		},
		"pool": func(r *rig, reached func()) pipe {
			r.pool.Pretend()
			time.AfterFunc(10*time.Millisecond, reached)
			return simple()
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.sink("out")
			there := make(chan struct{}, 1000)
			j := r.start(prepare(r, func() { there <- struct{}{} }))
			await(t, there, "moment")
			j.cancel()
			if err := j.end(); !errors.Is(err, context.Canceled) {
				t.Errorf("the job ended with %v", err)
			}
		})
	}
}

// TestBundlesAreFinalizedOnceTheyAreCommitted, and only those.
func TestBundlesAreFinalizedOnceTheyAreCommitted(t *testing.T) {
	r := newRig(t)
	elements, want := numbers(300)
	r.do["make"] = create(elements...)
	var mu sync.Mutex
	var died *call
	worked := map[string]*fnapitest.Harness{} // by bundle
	r.do["work"] = func(c *call) error {
		c.Response.RequiresFinalization = true
		mu.Lock()
		worked[c.ID] = c.Harness
		dies := len(worked) == 2
		if dies {
			died = c
		}
		mu.Unlock()
		if dies {
			return c.dies()
		}
		return same(c)
	}
	out := r.sink("out")
	r.start(simple()).mustEnd()
	out.want(want...)
	r.mu.Lock()
	defer r.mu.Unlock()
	all := slices.Sorted(slices.Values(r.finalized))
	if n := len(slices.Compact(slices.Clone(all))); n != len(all) || slices.Contains(all, died.ID) {
		t.Errorf("finalized %v, of which %v died", all, died.ID)
	}
	for id, harness := range worked {
		if _, found := slices.BinarySearch(all, id); !found && harness != died.Harness { // its other bundles died with it
			t.Errorf("%v was not finalized, only %v", id, all)
		}
	}
}

// TestMetricsAreThereAfterTheEnd: of jobs that are done, and of those that are
// not: what committed bundles have counted, by the user's names.
func TestMetricsAreThereAfterTheEnd(t *testing.T) {
	for _, how := range []string{"done", "failed", "cancelled"} {
		t.Run(how, func(t *testing.T) {
			r := newRig(t, fnapitest.Infos(map[string]*pipepb.MonitoringInfo{
				"x": {Urn: "beam:metric:user:sum_int64:v1", Type: "beam:metrics:sum_int64:v1",
					Labels: map[string]string{"PTRANSFORM": "work", "NAMESPACE": "n", "NAME": "seen"}}}))
			elements, want := numbers(50)
			r.do["make"] = create(elements...)
			r.do["work"] = func(c *call) error {
				n := int64(0)
				err := c.each(func(e *item) error { n++; return c.out(e.Raw) })
				c.Response.MonitoringData = map[string][]byte{"x": coder.AppendVarInt(nil, n)}
				return err
			}
			r.sink("out")
			last := make(chan struct{}, 100)
			r.do["after"] = func(c *call) error {
				if how == "failed" {
					return errors.New("no")
				}
				if how == "cancelled" {
					last <- struct{}{}
					return fnapitest.Hang(c.Bundle)
				}
				return joined(c)
			}
			p := simple()
			if how != "done" {
				p = newPipe().impulse("impulse", "i").pardo("make", nil, "in=i", "out=a:").
					reshuffle("spread", "in=a", "out=b:").pardo("work", nil, "in=b", "out=c:").
					group("group", "in=c", "out=d:grouped").pardo("after", nil, "in=d", "out=e:").write("write", "out", "e")
				r.do["after"] = groupsIn(coder.GlobalWindow, r.do["after"])
			}
			j := r.start(p)
			if how == "cancelled" {
				await(t, last, "last bundle")
				j.cancel()
			}
			err := j.end()
			if (err == nil) != (how == "done") {
				t.Fatal(err)
			}
			_, committed := j.metrics()
			if len(committed) != 1 || committed[0].GetLabels()["PTRANSFORM"] != "Work" {
				t.Fatalf("metrics %v", committed)
			}
			if n, _, _ := coder.DecodeVarInt(committed[0].GetPayload()); n != int64(len(want)) {
				t.Errorf("%d elements were counted, want %d", n, len(want))
			}
		})
	}
}

// TestFewBundlesNeedNoAnswersAboutMetrics: a harness that says beside each short id
// what it means is not asked by a small job, which would wait for the answer at its
// end; in a large one, short ids are learnt. Nothing is counted twice.
func TestFewBundlesNeedNoAnswersAboutMetrics(t *testing.T) {
	for _, n := range []int{5, 100} {
		t.Run(fmt.Sprint(n, " elements"), func(t *testing.T) {
			seen := &pipepb.MonitoringInfo{Urn: "beam:metric:user:sum_int64:v1", Type: "beam:metrics:sum_int64:v1",
				Labels: map[string]string{"PTRANSFORM": "work", "NAMESPACE": "n", "NAME": "seen"}}
			r := newRig(t, fnapitest.Infos(map[string]*pipepb.MonitoringInfo{"x": seen}))
			r.runner.maxBundle = 1
			elements, _ := numbers(n)
			r.do["make"] = func(c *call) error { // a block of each, which is a bundle
				c.ReadAll()
				for _, e := range elements {
					if err := c.out(e); err != nil {
						return err
					}
				}
				return nil
			}
			r.do["work"] = func(c *call) error {
				count := int64(0)
				err := c.each(func(e *item) error { count++; return c.out(e.Raw) })
				named := proto.CloneOf(seen)
				named.Payload = coder.AppendVarInt(nil, count)
				c.Response.MonitoringInfos = []*pipepb.MonitoringInfo{named}
				c.Response.MonitoringData = map[string][]byte{"x": named.Payload}
				return err
			}
			r.sink("out")
			j := r.start(simple())
			h := <-r.pool.Started()
			j.mustEnd()
			_, committed := j.metrics()
			if len(committed) != 1 {
				t.Fatalf("metrics %v", committed)
			}
			if got, _, _ := coder.DecodeVarInt(committed[0].GetPayload()); got != int64(n) {
				t.Errorf("%d elements were counted, want %d", got, n)
			}
			if asked := h.Asked("x"); n == 5 && asked > 0 || asked > 1 {
				t.Errorf("the harness was asked %d times", asked)
			}
		})
	}
}

// TestAttemptedMetricsCountWhatRuns: what a bundle has counted so far is in the
// attempted metrics, and in the committed ones when it has committed. What is
// counted for no step of the user's is in neither.
func TestAttemptedMetricsCountWhatRuns(t *testing.T) {
	counter := func(step string) *pipepb.MonitoringInfo {
		return &pipepb.MonitoringInfo{Urn: "beam:metric:user:sum_int64:v1", Type: "beam:metrics:sum_int64:v1",
			Labels: map[string]string{"PTRANSFORM": step, "NAMESPACE": "n", "NAME": "seen"}}
	}
	r := newRig(t, fnapitest.Infos(map[string]*pipepb.MonitoringInfo{"x": counter("work"), "y": counter("s3/source")}))
	r.do["make"] = create(at(0, "k", "v"))
	counted := map[string][]byte{"x": coder.AppendVarInt(nil, 7), "y": coder.AppendVarInt(nil, 5)}
	runs, goOn := make(chan struct{}), make(chan struct{})
	r.do["work"] = func(c *call) error {
		c.OnProgress(func() *fnpb.ProcessBundleProgressResponse {
			return &fnpb.ProcessBundleProgressResponse{MonitoringData: counted}
		})
		c.ReadAll()
		close(runs)
		await(t, goOn, "go-ahead")
		c.Response.MonitoringData = counted
		return nil
	}
	r.sink("out")
	j := r.start(simple())
	await(t, runs, "bundle")
	attempted, committed := j.metrics()
	attempted = ofUser(attempted)
	close(goOn)
	if len(committed) != 0 || len(attempted) != 1 || string(attempted[0].GetPayload()) != "\x07" || attempted[0].GetLabels()["PTRANSFORM"] != "Work" {
		t.Errorf("while it runs: attempted %v, committed %v", attempted, committed)
	}
	j.mustEnd()
	attempted, committed = j.metrics()
	attempted = ofUser(attempted)
	if len(committed) != 1 || len(attempted) != 1 || string(committed[0].GetPayload()) != "\x07" {
		t.Errorf("after its end: attempted %v, committed %v", attempted, committed)
	}
}

// TestAttemptedMetricsCountAllAttempts (Beam's MetricResult): what a bundle had told
// before it failed is in the attempted metrics beside what its retry counts, and not in
// the committed ones.
func TestAttemptedMetricsCountAllAttempts(t *testing.T) {
	r := newRig(t, fnapitest.Infos(map[string]*pipepb.MonitoringInfo{
		"x": {Urn: "beam:metric:user:sum_int64:v1", Type: "beam:metrics:sum_int64:v1",
			Labels: map[string]string{"PTRANSFORM": "work", "NAMESPACE": "n", "NAME": "seen"}}}))
	r.options["bundle_retries"] = 1
	r.do["make"] = create(at(0, "k", "v"))
	runs, fail := make(chan struct{}), make(chan struct{})
	var calls atomic.Int32
	r.do["work"] = func(c *call) error {
		c.OnProgress(func() *fnpb.ProcessBundleProgressResponse {
			return &fnpb.ProcessBundleProgressResponse{MonitoringData: map[string][]byte{"x": coder.AppendVarInt(nil, 5)}}
		})
		c.ReadAll()
		if calls.Add(1) == 1 {
			close(runs)
			await(t, fail, "failure")
			return errors.New(trace)
		}
		c.Response.MonitoringData = map[string][]byte{"x": coder.AppendVarInt(nil, 7)}
		return nil
	}
	r.sink("out")
	j := r.start(simple())
	await(t, runs, "bundle")
	j.metrics()
	close(fail)
	j.mustEnd()
	attempted, committed := j.metrics()
	attempted = ofUser(attempted)
	if len(committed) != 1 || len(attempted) != 1 || string(committed[0].GetPayload()) != "\x07" || string(attempted[0].GetPayload()) != "\x0c" {
		t.Errorf("attempted %v, committed %v", attempted, committed)
	}
}

// ofUser leaves out what Fresnel itself tells among the metrics.
func ofUser(all []*pipepb.MonitoringInfo) []*pipepb.MonitoringInfo {
	return slices.DeleteFunc(slices.Clone(all), func(m *pipepb.MonitoringInfo) bool {
		return strings.HasPrefix(m.GetUrn(), "fresnel:")
	})
}
