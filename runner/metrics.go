package runner

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"

	"fresnel/fnapi"
	"fresnel/internal/beam"
)

// metrics adds up what committed bundles counted. A harness names its metrics
// by short ids of its own, which are looked up now and then, when metrics are
// read and when the job ends, never on a bundle's way.
type metrics struct {
	mu      sync.Mutex
	workers map[fnapi.Worker]*workerMetrics
	totals  map[string]*total
	// settled says that no worker can be asked any more.
	settled bool
}

// workerMetrics is what the short ids of one worker stand for, and what waits
// for that to be known.
type workerMetrics struct {
	known   map[string]*shortID
	waiting map[string][]metricData
	// since is when the first of those that wait came; asking: the worker is asked.
	since  time.Time
	asking bool
}

// shortID is a metric's meaning, nil if the worker does not know it, and its
// totals.
type shortID struct {
	info   *pipepb.MonitoringInfo
	totals map[*stage]*total
}

// metricData is one bundle's value under a short id.
type metricData struct {
	stage   *stage
	payload []byte
}

// total is one metric's sum over all bundles.
type total struct {
	info *pipepb.MonitoringInfo
	sum  metricSum
}

func newMetrics() *metrics {
	return &metrics{workers: map[fnapi.Worker]*workerMetrics{}, totals: map[string]*total{}}
}

const (
	// askAfter is how many values may wait under one short id, and askEvery for
	// how long, before a worker is asked: should it be lost, so are they.
	askAfter = 16
	askEvery = 500 * time.Millisecond
	// maxWaiting bounds them where a worker does not answer (I9).
	maxWaiting = 256
	// askPatience bounds how long a reader waits for workers, settlePatience how
	// long the end of a job does.
	askPatience    = 5 * time.Second
	settlePatience = 2 * time.Second
)

// commit adds a bundle's metrics, in the job's loop.
func (m *metrics) commit(hb *harnessBundle, res *fnapi.Result) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(res.Monitoring) == 0 {
		for _, info := range res.Infos {
			m.total(hb.x.stage, info).sum.add(info.GetPayload())
		}
		return
	}
	w := m.workers[hb.worker]
	if w == nil {
		w = &workerMetrics{known: map[string]*shortID{}, waiting: map[string][]metricData{}}
		m.workers[hb.worker] = w
	}
	for id, payload := range res.Monitoring {
		m.put(w, id, metricData{hb.x.stage, payload})
	}
	if w.due() {
		w.asking = true
		hb.x.job.spawn(func() { m.ask(hb.x.job.ctx, hb.worker, w) })
	}
}

// put adds a value to its total, or to those that wait.
func (m *metrics) put(w *workerMetrics, id string, v metricData) {
	if k := w.known[id]; k != nil {
		m.sum(k, v)
		return
	}
	if len(w.waiting) == 0 {
		w.since = time.Now()
	}
	if len(w.waiting[id]) < maxWaiting {
		w.waiting[id] = append(w.waiting[id], v)
	}
}

func (m *metrics) sum(k *shortID, v metricData) {
	if k.info == nil {
		return
	}
	t := k.totals[v.stage]
	if t == nil {
		t = m.total(v.stage, k.info)
		k.totals[v.stage] = t
	}
	t.sum.add(v.payload)
}

// due tells whether the worker should be asked.
func (w *workerMetrics) due() bool {
	if w.asking || len(w.waiting) == 0 {
		return false
	}
	if time.Since(w.since) > askEvery {
		return true
	}
	for _, values := range w.waiting {
		if len(values) >= askAfter {
			return true
		}
	}
	return false
}

// ask looks up the short ids that wait, and adds their values to the totals.
func (m *metrics) ask(ctx context.Context, worker fnapi.Worker, w *workerMetrics) {
	m.mu.Lock()
	ids := slices.Collect(maps.Keys(w.waiting))
	m.mu.Unlock()
	if len(ids) == 0 {
		return
	}
	infos, err := worker.MonitoringInfos(ctx, ids)
	m.mu.Lock()
	defer m.mu.Unlock()
	w.asking, w.since = false, time.Now()
	if err != nil {
		return // it is busy, or it is gone and with it the meaning of its ids
	}
	for _, id := range ids {
		k := w.known[id]
		if k == nil {
			k = &shortID{info: infos[id], totals: map[*stage]*total{}}
			w.known[id] = k
		}
		for _, v := range w.waiting[id] {
			m.sum(k, v)
		}
		delete(w.waiting, id)
	}
}

// resolve asks all workers that values wait for.
func (m *metrics) resolve(ctx context.Context, patience time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var asked sync.WaitGroup
	m.mu.Lock()
	for worker, w := range m.workers {
		if len(w.waiting) > 0 {
			asked.Go(func() { m.ask(ctx, worker, w) })
		}
	}
	m.mu.Unlock()
	asked.Wait()
}

// settle asks the workers for the last time.
func (m *metrics) settle(ctx context.Context) {
	m.resolve(ctx, settlePatience)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.settled, m.workers = true, nil
}

// total finds the total of a metric; m.mu is held.
func (m *metrics) total(s *stage, info *pipepb.MonitoringInfo) *total {
	labels := s.userLabels(info.GetLabels())
	key := metricKey(info.GetUrn(), labels)
	t := m.totals[key]
	if t == nil {
		t = &total{info: &pipepb.MonitoringInfo{Urn: info.GetUrn(), Type: info.GetType(), Labels: labels}, sum: newMetricSum(info.GetType())}
		m.totals[key] = t
	}
	return t
}

// userLabels puts the user's step name where the harness says an id.
func (s *stage) userLabels(labels map[string]string) map[string]string {
	named := maps.Clone(labels)
	if name, ok := s.plan.Transforms[beam.TransformID(labels["PTRANSFORM"])]; ok {
		named["PTRANSFORM"] = name
	}
	return named
}

func metricKey(urn string, labels map[string]string) string {
	parts := []string{urn}
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		parts = append(parts, k, labels[k])
	}
	return strings.Join(parts, "\x00")
}

// read returns the job's metrics. All that is known is committed: what running
// bundles have counted is added when they are.
func (m *metrics) read() (attempted, committed []*pipepb.MonitoringInfo) {
	m.mu.Lock()
	settled := m.settled
	m.mu.Unlock()
	if !settled {
		m.resolve(context.Background(), askPatience)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]*pipepb.MonitoringInfo, 0, len(m.totals))
	for _, k := range slices.Sorted(maps.Keys(m.totals)) {
		t := m.totals[k]
		all = append(all, &pipepb.MonitoringInfo{Urn: t.info.GetUrn(), Type: t.info.GetType(), Labels: t.info.GetLabels(), Payload: t.sum.payload()})
	}
	return all, all
}
