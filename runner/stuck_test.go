package runner

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"

	"fresnel/fnapi/fnapitest"
	"fresnel/internal/beam"
	"fresnel/internal/coder"
	"fresnel/jobservice"
)

// spends are the infos of a bundle that spends its time in a step, and has
// counted so far.
func spends(step string, ms, counted int64) func() *fnpb.ProcessBundleProgressResponse {
	return func() *fnpb.ProcessBundleProgressResponse {
		info := func(urn string, n int64) *pipepb.MonitoringInfo {
			return &pipepb.MonitoringInfo{Urn: urn, Type: "beam:metrics:sum_int64:v1", Payload: coder.AppendVarInt(nil, n),
				Labels: map[string]string{"PTRANSFORM": step}}
		}
		return &fnpb.ProcessBundleProgressResponse{MonitoringInfos: []*pipepb.MonitoringInfo{
			info("beam:metric:ptransform_execution_time:total_msecs:v1", ms), info("beam:metric:user:sum_int64:v1", counted)}}
	}
}

// TestABundleThatMakesNoProgressIsToldOf names the step, and goes on waiting.
func TestABundleThatMakesNoProgressIsToldOf(t *testing.T) {
	r := newRig(t)
	r.runner.cfg.StuckAfter = 100 * time.Millisecond
	elements, want := numbers(5)
	r.do["make"] = create(elements...)
	r.do["work"] = func(c *call) error {
		c.OnProgress(spends("work", time.Now().UnixMilli(), 1))
		time.Sleep(700 * time.Millisecond)
		return fnapitest.Echo(c.Bundle)
	}
	out := r.sink("out")
	j := r.start(simple())
	j.mustEnd()
	out.want(want...)
	if said := j.said(jobservice.Warning); strings.Count(said, "Work has made no progress for") != 1 {
		t.Errorf("the user was told: %s", said)
	}
}

// TestABundleThatMakesProgressIsNotStuck: it counts, and the clock alone is no
// progress.
func TestABundleThatMakesProgressIsNotStuck(t *testing.T) {
	r := newRig(t)
	r.runner.cfg.StuckAfter, r.runner.cfg.StuckLimit = 400*time.Millisecond, 500*time.Millisecond
	elements, _ := numbers(5)
	r.do["make"] = create(elements...)
	r.do["work"] = func(c *call) error {
		for i := range 60 {
			c.OnProgress(spends("work", int64(i), int64(i)))
			time.Sleep(20 * time.Millisecond)
		}
		return fnapitest.Echo(c.Bundle)
	}
	r.sink("out")
	j := r.start(simple())
	j.mustEnd()
	if said := j.said(jobservice.Warning); said != "" {
		t.Errorf("the user was told: %s", said)
	}
}

// TestABundleThatHangsIsTriedAgainAfterTheLimit, as that of a lost worker.
func TestABundleThatHangsIsTriedAgainAfterTheLimit(t *testing.T) {
	r := newRig(t)
	r.runner.cfg.StuckLimit = 200 * time.Millisecond
	elements, want := numbers(5)
	r.do["make"] = create(elements...)
	var hung atomic.Bool
	r.do["work"] = func(c *call) error {
		if !hung.Swap(true) {
			return fnapitest.Hang(c.Bundle)
		}
		return fnapitest.Echo(c.Bundle)
	}
	out := r.sink("out")
	j := r.start(simple())
	j.mustEnd()
	out.want(want...)
	if said := j.said(jobservice.Warning); !strings.Contains(said, "trying again") || !strings.Contains(said, "it made no progress for") {
		t.Errorf("the user was told: %s", said)
	}
}

// TestAPipelineSetsItsOwnLimit by Beam's option; a bundle that hangs each time
// ends a bounded job.
func TestAPipelineSetsItsOwnLimit(t *testing.T) {
	r := newRig(t)
	r.options["element_processing_timeout_minutes"] = "3"
	elements, _ := numbers(5)
	r.do["make"] = create(elements...)
	r.sink("out")
	j := r.start(simple())
	j.mustEnd()
	if w := j.job.newStuckWatch(); w.limit != 3*time.Minute || w.after != 5*time.Minute {
		t.Errorf("limit %s, told after %s", w.limit, w.after)
	}
}

func TestAJobWhoseBundleAlwaysHangsFails(t *testing.T) {
	r := newRig(t)
	r.runner.cfg.StuckLimit = 50 * time.Millisecond
	elements, _ := numbers(5)
	r.do["make"] = create(elements...)
	r.do["work"] = func(c *call) error { return fnapitest.Hang(c.Bundle) }
	r.sink("out")
	r.start(simple()).wantError(beam.Unavailable, "it made no progress for", "--element_processing_timeout_minutes")
}

const pythonStatus = `========== CACHE STATS ==========
Cache disabled
========== ACTIVE PROCESSING BUNDLES ==========
--- instruction job/s/1 ---
ProcessBundleDescriptorId: job/s
tracked thread: <Thread(ThreadPoolExecutor-1, started daemon 11)>
time since transition: 61.00 seconds

--- instruction job/s/2 ---
ProcessBundleDescriptorId: job/s
tracked thread: <_Worker(Thread-9, started daemon 33)>
time since transition: 2.00 seconds

==============================
========== THREAD DUMP ==========
--- Thread #11 name: ThreadPoolExecutor-1 ---
  File "/lib/python3.11/threading.py", line 1002, in _bootstrap
    self._bootstrap_inner()
  File "/site-packages/apache_beam/runners/worker/sdk_worker.py", line 671, in do_instruction
    return getattr(self, request_type)(
  File "pipeline.py", line 7, in process
    time.sleep(1)

--- Thread #22 name: Thread-8 and other 1 threads---
threads: [(22, 'Thread-8'), (33, 'Thread-9')]
  File "pipeline.py", line 8, in process
    time.sleep(2)

==============================
`

func TestTheStackOfABundleIsFoundInAStatus(t *testing.T) {
	t.Parallel()
	for instruction, want := range map[string]string{
		"job/s/1": "  File \"pipeline.py\", line 7, in process\n    time.sleep(1)",
		"job/s/2": "  File \"pipeline.py\", line 8, in process\n    time.sleep(2)",
		"job/s/3": "", // there is none
	} {
		if got := pythonStack(pythonStatus, instruction); got != want {
			t.Errorf("of %s: %q", instruction, got)
		}
	}
	if got := pythonStack("--- instruction x ---\ntracked thread: None\n", "x"); got != "" {
		t.Errorf("of no thread: %q", got)
	}
}
