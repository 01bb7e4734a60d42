package runner

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"regexp"
	"strings"
	"time"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"

	"fresnel/internal/beam"
)

// A bundle is stuck if nothing of what its harness counts moves any more, but
// for time itself, and nothing comes from it: no output, no question for state.
// The user is told, with the step that the time goes into and the stack of the
// thread; after a limit, if there is one, the worker is given up.

// stuckAfter is when a bundle is reported where Config does not say: as long as
// Beam's harnesses wait before they log a lull.
const stuckAfter = 5 * time.Minute

// statusPatience bounds how long a question to a worker is waited for.
const statusPatience = 10 * time.Second

// stuckWatch looks for stuck bundles, in one goroutine.
type stuckWatch struct {
	job *job
	// after is when a bundle is reported, limit when its worker is given up; 0 is
	// never.
	after, limit time.Duration
}

func (j *job) newStuckWatch() *stuckWatch {
	w := &stuckWatch{job: j, after: j.runner.cfg.StuckAfter, limit: j.runner.cfg.StuckLimit}
	if minutes, err := j.opts.Int("element_processing_timeout_minutes", 0); err == nil && minutes > 0 {
		w.limit = time.Duration(min(minutes, 1<<30)) * time.Minute
	}
	return w
}

// period is the time between two looks.
func (w *stuckWatch) period() time.Duration {
	least := w.after
	if w.limit > 0 && (least <= 0 || w.limit < least) {
		least = w.limit
	}
	return min(max(least/10, 10*time.Millisecond), 30*time.Second)
}

func (w *stuckWatch) run() {
	if w.after <= 0 && w.limit <= 0 {
		return
	}
	tick := time.NewTicker(w.period())
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-w.job.ctx.Done():
			return
		}
		for _, s := range w.job.stages {
			if x, ok := s.executor.(*harnessExecutor); ok {
				for _, hb := range x.onWorkers() {
					w.look(hb)
				}
			}
		}
	}
}

// pace is what was last seen of a bundle's progress.
type pace struct {
	since  time.Time // when it last moved
	moves  int64
	counts map[string][]byte
	// spent is the time that each transform has taken, by id, step the one that
	// took most of it lately.
	spent map[string]int64
	step  string
	told  bool
}

// look compares a bundle with what it was at the last look.
func (w *stuckWatch) look(hb *harnessBundle) {
	now := time.Now()
	if hb.pace == nil {
		hb.pace = &pace{since: now}
		return // most bundles are over at the next look
	}
	ctx, cancel := context.WithTimeout(w.job.ctx, statusPatience)
	defer cancel()
	infos := hb.counted(ctx)
	if ctx.Err() != nil {
		return // a worker that does not answer is the pool's matter
	}
	if hb.pace.moved(infos, hb.moves.Load()) || hb.inside.Load() > 0 {
		hb.pace.since, hb.pace.told = now, false
		return
	}
	switch still := now.Sub(hb.pace.since); {
	case w.limit > 0 && still >= w.limit:
		w.giveUp(ctx, hb, still)
	case w.after > 0 && still >= w.after && !hb.pace.told:
		hb.pace.told = true
		w.job.warn(fmt.Sprintf("%s has made no progress for %s on SDK harness %s%s", w.step(hb), still.Round(time.Millisecond), hb.worker.ID(), w.stack(ctx, hb)))
	}
}

// moved takes what a bundle has counted, and tells whether that has changed.
func (p *pace) moved(infos []*pipepb.MonitoringInfo, moves int64) bool {
	counts, spent := map[string][]byte{}, map[string]int64{}
	for _, info := range infos {
		transform := info.GetLabels()["PTRANSFORM"]
		switch {
		case info.GetUrn() == urnTotalTime:
			var ms [1]int64
			readInts(info.GetPayload(), ms[:])
			spent[transform] = ms[0]
		case !strings.HasSuffix(info.GetUrn(), "_msecs:v1"):
			counts[fmt.Sprint(info.GetUrn(), info.GetLabels())] = info.GetPayload()
		}
	}
	most := int64(0)
	for t, ms := range spent {
		if d := ms - p.spent[t]; d > most {
			most, p.step = d, t
		}
	}
	changed := p.counts != nil && !maps.EqualFunc(counts, p.counts, bytes.Equal) || moves != p.moves
	p.counts, p.spent, p.moves = counts, spent, moves
	return changed
}

// urnTotalTime is the time that a transform took, in milliseconds.
const urnTotalTime = "beam:metric:ptransform_execution_time:total_msecs:v1"

// step is the user's name of what the bundle is busy with.
func (w *stuckWatch) step(hb *harnessBundle) string {
	if name := hb.x.stage.plan.Transforms[beam.TransformID(hb.pace.step)]; name != "" {
		return name
	}
	return hb.x.stage.where()
}

func (w *stuckWatch) giveUp(ctx context.Context, hb *harnessBundle, still time.Duration) {
	hb.worker.Fail(&beam.Error{Code: beam.Unavailable, Where: w.step(hb),
		What: fmt.Sprintf("it made no progress for %s on SDK harness %s, which was given up%s", still.Round(time.Millisecond), hb.worker.ID(), w.stack(ctx, hb)),
		Cure: "if that is how long its elements take, set a longer --element_processing_timeout_minutes, or the server's --stuck-limit",
	})
}

// stack is where the bundle's thread is, for the end of a message; empty if the
// harness cannot tell.
func (w *stuckWatch) stack(ctx context.Context, hb *harnessBundle) string {
	status, err := hb.worker.Status(ctx)
	if err != nil || status == "" {
		return ""
	}
	if stack := pythonStack(status, hb.x.instruction(hb.b)); stack != "" {
		return "; it is at\n" + stack
	}
	return "; the harness reports\n" + strings.ToValidUTF8(status[:min(len(status), maxStatus)], "")
}

// maxStatus bounds what is told of a report in no known form.
const maxStatus = 16 << 10

var (
	trackedThread = regexp.MustCompile(`(?m)^tracked thread: <.*?(\d+)\)>$`)
	threadDump    = regexp.MustCompile(`(?m)^--- Thread #`)
)

// pythonStack finds the stack of a bundle's thread in the status of a Python
// harness (apache_beam/runners/worker/worker_status.py); empty if there is none.
//
//	--- instruction <id> ---
//	tracked thread: <Thread(Thread-9, started daemon 1234)>
//	...
//	--- Thread #1234 name: Thread-9 ---
//	  File "pipeline.py", line 7, in process
func pythonStack(status, instruction string) string {
	_, about, found := strings.Cut(status, "--- instruction "+instruction+" ---\n")
	about, _, _ = strings.Cut(about, "\n--- ")
	thread := trackedThread.FindStringSubmatch(about)
	if !found || thread == nil {
		return ""
	}
	for _, dump := range threadDump.Split(status, -1)[1:] {
		head, stack, _ := strings.Cut(dump, "\n")
		if others, rest, ok := strings.Cut(stack, "\n"); ok && strings.HasPrefix(others, "threads: ") {
			head, stack = head+others, rest
		}
		if strings.HasPrefix(head, thread[1]+" ") || strings.Contains(head, "("+thread[1]+", ") {
			stack, _, _ = strings.Cut(stack, "\n"+strings.Repeat("=", 30))
			return withoutHarness(strings.TrimRight(stack, "\n"))
		}
	}
	return ""
}

// harnessFrame is a frame of what calls the user's code.
var harnessFrame = regexp.MustCompile(`^  File ".*(/threading\.py|/thread_pool_executor\.py|/apache_beam/runners/worker/\w+\.py)", `)

// withoutHarness leaves out how a stack begins in the harness, if that is not all.
func withoutHarness(stack string) string {
	for _, at := range frame.FindAllStringIndex(stack, -1) {
		if !harnessFrame.MatchString(stack[at[0]:]) {
			return stack[at[0]:]
		}
	}
	return stack
}

var frame = regexp.MustCompile(`(?m)^  File "`)
