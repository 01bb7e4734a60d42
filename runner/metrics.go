package runner

import (
	"cmp"
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

// metrics adds up what bundles counted, those that were committed and the others. A harness names its metrics
// by short ids of its own, which are looked up now and then, when metrics are
// read and when the job ends, never on a bundle's way. Until they are known, what
// Python sends beside them is read, which costs more: so that few bundles, which
// are all that a small job has, need not be asked about.
type metrics struct {
	mu      sync.Mutex
	workers map[fnapi.Worker]*workerMetrics
	// totals are of bundles that were committed, lost of those that were not: failed,
	// run again or given up. What was attempted is both (Beam's MetricResult: across
	// all attempts).
	totals, lost totals
	// running are what running bundles have counted so far.
	running func(ctx context.Context) []counted
	// settled says that no worker can be asked any more.
	settled bool
	// kept are, of a durable job, the totals on disk; nil for a job in memory.
	kept *keptMetrics
}

// workerMetrics is what the short ids of one worker stand for, and what waits
// for that to be known.
type workerMetrics struct {
	known   map[string]*shortID
	waiting map[string][]metricData
	// since is when the first of those that wait came; asking: the worker is asked.
	since  time.Time
	asking bool
	// unnamed counts the bundles that were counted without their short ids, which are
	// not known.
	unnamed map[string]int
	// silent tells that a bundle has waited for the worker's answer in vain.
	silent bool
}

// shortID is a metric's meaning, nil if the worker does not know it, and its
// totals.
type shortID struct {
	info   *pipepb.MonitoringInfo
	totals map[attempt]*total
}

// attempt is what a bundle of a stage counts for: it was committed, or it was lost.
type attempt struct {
	stage *stage
	lost  bool
}

// metricData is one bundle's value under a short id.
type metricData struct {
	attempt
	payload []byte
}

// total is one metric's sum over all bundles.
type total struct {
	info *pipepb.MonitoringInfo
	sum  metricSum
	kept keptTotal
}

func newMetrics() *metrics {
	return &metrics{workers: map[fnapi.Worker]*workerMetrics{}, totals: totals{}, lost: totals{}}
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

// commit adds the metrics of a bundle of the worker w, in the job's loop, before
// its commit is written.
func (m *metrics) commit(hb *harnessBundle, w *workerMetrics, res *fnapi.Result) {
	m.add(hb, w, res, attempt{hb.x.stage, false})
}

// lose adds the metrics of a bundle that was processed to its end, and does not count.
func (m *metrics) lose(hb *harnessBundle, w *workerMetrics, res *fnapi.Result) {
	m.add(hb, w, res, attempt{hb.x.stage, true})
}

// loseRunning adds what a bundle that has not come to its end last told.
func (m *metrics) loseRunning(s *stage, told []*pipepb.MonitoringInfo) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.addAll(attempt{s, true}, told)
}

func (m *metrics) add(hb *harnessBundle, w *workerMetrics, res *fnapi.Result, a attempt) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(res.Monitoring) == 0 {
		m.addAll(a, res.Infos)
		return
	}
	if named := w.named(res); named != nil {
		m.addAll(a, named)
	} else {
		for id, payload := range res.Monitoring {
			m.put(w, id, metricData{a, payload})
		}
	}
	if w.due() {
		w.asking = true
		hb.x.job.spawn(func() { m.ask(hb.x.job.ctx, hb.worker, w) })
	}
}

func (m *metrics) addAll(a attempt, infos []*pipepb.MonitoringInfo) {
	for _, info := range infos {
		m.sumUp(m.totalsOf(a).of(a.stage, info), a, info.GetPayload())
	}
}

// totalsOf are the totals that an attempt counts in.
func (m *metrics) totalsOf(a attempt) totals {
	if a.lost {
		return m.lost
	}
	return m.totals
}

// sumUp adds to a total, nil if there is none. Only what was committed is kept.
func (m *metrics) sumUp(t *total, a attempt, payload []byte) {
	if t == nil {
		return
	}
	t.sum.add(payload)
	if !a.lost {
		m.kept.changed(t)
	}
}

// named are the metrics of a result with their meaning, if there is a short id
// that is not known, and the worker has sent both.
func (w *workerMetrics) named(res *fnapi.Result) []*pipepb.MonitoringInfo {
	ids := w.unknown(res)
	if len(ids) == 0 || !res.Named() {
		return nil
	}
	named := res.NamedInfos()
	if len(named) == 0 {
		return nil // they do not parse
	}
	w.begin()
	for _, id := range ids {
		w.unnamed[id]++
	}
	return named
}

// unknown are the short ids of a result of which the meaning is not known.
func (w *workerMetrics) unknown(res *fnapi.Result) (ids []string) {
	for id := range res.Monitoring {
		if w.known[id] == nil {
			ids = append(ids, id)
		}
	}
	return ids
}

// begin notes when something is first to be asked.
func (w *workerMetrics) begin() {
	if len(w.waiting)+len(w.unnamed) == 0 {
		w.since = time.Now()
	}
}

// join makes a record of a worker that has come.
func (m *metrics) join(worker fnapi.Worker) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.settled {
		m.workers[worker] = newWorkerMetrics()
	}
}

func newWorkerMetrics() *workerMetrics {
	return &workerMetrics{known: map[string]*shortID{}, waiting: map[string][]metricData{}, unnamed: map[string]int{}}
}

// of returns the record of a worker; one that nobody keeps if it is lost.
func (m *metrics) of(worker fnapi.Worker) *workerMetrics {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.worker(worker)
}

// worker is of with m.mu held.
func (m *metrics) worker(worker fnapi.Worker) *workerMetrics {
	if w := m.workers[worker]; w != nil {
		return w
	}
	return newWorkerMetrics()
}

// put adds a value to its total, or to those that wait.
func (m *metrics) put(w *workerMetrics, id string, v metricData) {
	if k := w.known[id]; k != nil {
		m.sum(k, v)
		return
	}
	w.begin()
	if len(w.waiting[id]) < maxWaiting {
		w.waiting[id] = append(w.waiting[id], v)
	}
}

func (m *metrics) sum(k *shortID, v metricData) {
	if k.info == nil {
		return
	}
	t, ok := k.totals[v.attempt]
	if !ok {
		t = m.totalsOf(v.attempt).of(v.stage, k.info)
		k.totals[v.attempt] = t
	}
	m.sumUp(t, v.attempt, v.payload)
}

// due tells whether the worker should be asked.
func (w *workerMetrics) due() bool {
	if w.asking || len(w.waiting)+len(w.unnamed) == 0 {
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
	for _, bundles := range w.unnamed {
		if bundles >= askAfter {
			return true
		}
	}
	return false
}

// ask looks up the short ids that wait, and adds their values to the totals.
func (m *metrics) ask(ctx context.Context, worker fnapi.Worker, w *workerMetrics) {
	m.mu.Lock()
	ids := slices.Collect(maps.Keys(w.waiting))
	for id := range w.unnamed {
		if w.waiting[id] == nil {
			ids = append(ids, id)
		}
	}
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
	m.explain(w, ids, infos)
}

// forget takes leave of a worker that is lost: what it said of its ids before is
// all that there will be.
func (m *metrics) forget(ctx context.Context, worker fnapi.Worker) {
	m.mu.Lock()
	w := m.workers[worker]
	m.mu.Unlock()
	if w == nil {
		return
	}
	m.ask(ctx, worker, w)
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.workers, worker)
}

// explain takes in what a worker says of its short ids, and adds the values that
// have waited for that.
func (m *metrics) explain(w *workerMetrics, ids []string, infos map[string]*pipepb.MonitoringInfo) {
	for _, id := range ids {
		k := w.known[id]
		if k == nil {
			k = &shortID{info: infos[id], totals: map[attempt]*total{}}
			w.known[id] = k
		}
		for _, v := range w.waiting[id] {
			m.sum(k, v)
		}
		delete(w.waiting, id)
		delete(w.unnamed, id)
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

// totals are the sums of metrics by URN and labels.
type totals map[string]*total

// of finds the total of a metric; nil for those of what is no step of the
// user's, a bundle's data streams.
func (all totals) of(s *stage, info *pipepb.MonitoringInfo) *total {
	labels, ok := s.userLabels(info.GetLabels())
	if !ok {
		return nil
	}
	return all.labelled(info, labels)
}

func (all totals) labelled(info *pipepb.MonitoringInfo, labels map[string]string) *total {
	key := metricKey(info.GetUrn(), labels)
	t := all[key]
	if t == nil {
		t = &total{info: &pipepb.MonitoringInfo{Urn: info.GetUrn(), Type: info.GetType(), Labels: labels}, sum: newMetricSum(info.GetType())}
		all[key] = t
	}
	return t
}

// add adds to the total of a metric, if there is one.
func (all totals) add(s *stage, info *pipepb.MonitoringInfo, payload []byte) {
	if t := all.of(s, info); t != nil {
		t.sum.add(payload)
	}
}

// infos are the totals as the job service tells them: the user's metrics first,
// since Python's query has the user's and the harness's in one list, of which tests
// read the first.
func (all totals) infos() []*pipepb.MonitoringInfo {
	infos := make([]*pipepb.MonitoringInfo, 0, len(all))
	for _, k := range slices.SortedFunc(maps.Keys(all), usersFirst) {
		t := all[k]
		infos = append(infos, &pipepb.MonitoringInfo{Urn: t.info.GetUrn(), Type: t.info.GetType(), Labels: t.info.GetLabels(), Payload: t.sum.payload()})
	}
	return infos
}

// usersFirst orders keys of metrics.
func usersFirst(a, b string) int {
	user := func(key string) int {
		if strings.HasPrefix(key, "beam:metric:user:") {
			return 0
		}
		return 1
	}
	return cmp.Or(cmp.Compare(user(a), user(b)), strings.Compare(a, b))
}

// userLabels puts the user's step name where the harness says an id; false if
// there is none.
func (s *stage) userLabels(labels map[string]string) (map[string]string, bool) {
	id, ok := labels["PTRANSFORM"]
	if !ok {
		return labels, true
	}
	name, ok := s.plan.Transforms[beam.TransformID(id)]
	named := maps.Clone(labels)
	named["PTRANSFORM"] = name
	return named, ok
}

func metricKey(urn string, labels map[string]string) string {
	parts := []string{urn}
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		parts = append(parts, k, labels[k])
	}
	return strings.Join(parts, "\x00")
}

// read returns the job's metrics: those of committed bundles, and those with what
// lost ones have counted, and running ones so far.
func (m *metrics) read() (attempted, committed []*pipepb.MonitoringInfo) {
	m.mu.Lock()
	settled := m.settled
	m.mu.Unlock()
	if !settled {
		m.resolve(context.Background(), askPatience)
	}
	m.mu.Lock()
	committed = m.totals.infos()
	attempted = m.attempted(committed)
	settled, running := m.settled, m.running
	m.mu.Unlock()
	if settled || running == nil {
		return attempted, committed
	}
	return withRunning(attempted, running), committed
}

// attempted are the metrics of bundles that are over, whether they count or not, of
// which those that do are committed.
func (m *metrics) attempted(committed []*pipepb.MonitoringInfo) []*pipepb.MonitoringInfo {
	if len(m.lost) == 0 {
		return committed
	}
	all := totals{}
	all.merge(committed)
	all.merge(m.lost.infos())
	return all.infos()
}

// merge adds what other totals tell.
func (all totals) merge(infos []*pipepb.MonitoringInfo) {
	for _, info := range infos {
		all.labelled(info, info.GetLabels()).sum.add(info.GetPayload())
	}
}

// watch tells who knows what running bundles have counted.
func (m *metrics) watch(running func(ctx context.Context) []counted) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.running = running
}

// counted is what a running bundle of a stage has counted so far.
type counted struct {
	stage *stage
	infos []*pipepb.MonitoringInfo
}

// withRunning adds what running bundles have counted to the metrics of those that are
// over. A bundle that commits in the meantime is in neither: it is in both the next
// time.
func withRunning(over []*pipepb.MonitoringInfo, ask func(ctx context.Context) []counted) []*pipepb.MonitoringInfo {
	ctx, cancel := context.WithTimeout(context.Background(), settlePatience)
	defer cancel()
	running := ask(ctx)
	if len(running) == 0 {
		return over
	}
	all := totals{}
	all.merge(over)
	for _, c := range running {
		for _, info := range c.infos {
			all.add(c.stage, info, info.GetPayload())
		}
	}
	return all.infos()
}

// counting asks the workers what their bundles have counted so far.
func (j *job) counting(ctx context.Context) []counted {
	var asked sync.WaitGroup
	var mu sync.Mutex
	var all []counted
	for _, s := range j.stages {
		x, ok := s.executor.(*harnessExecutor)
		if !ok {
			continue
		}
		for _, hb := range x.onWorkers() {
			asked.Go(func() {
				infos := hb.counted(ctx)
				mu.Lock()
				defer mu.Unlock()
				all = append(all, counted{s, infos})
			})
		}
	}
	asked.Wait()
	return all
}

// onWorkers are the bundles that workers process.
func (x *harnessExecutor) onWorkers() []*harnessBundle {
	x.mu.Lock()
	defer x.mu.Unlock()
	var all []*harnessBundle
	for _, hb := range x.running {
		if hb.process != nil && !hb.abandoned {
			all = append(all, hb)
		}
	}
	return all
}

// counted asks what the bundle has counted so far; nothing if it is over. The answer
// is what remains of the bundle's metrics, should it be lost.
func (hb *harnessBundle) counted(ctx context.Context) []*pipepb.MonitoringInfo {
	infos := hb.askCounted(ctx)
	if len(infos) > 0 {
		hb.told.Store(&infos)
	}
	return infos
}

func (hb *harnessBundle) askCounted(ctx context.Context) []*pipepb.MonitoringInfo {
	p, err := hb.process.Progress(ctx)
	if err != nil || p == nil {
		return nil
	}
	if len(p.Monitoring) == 0 {
		return p.Infos
	}
	known, err := hb.worker.MonitoringInfos(ctx, slices.Collect(maps.Keys(p.Monitoring)))
	if err != nil {
		return nil
	}
	var infos []*pipepb.MonitoringInfo
	for id, info := range known {
		infos = append(infos, &pipepb.MonitoringInfo{Urn: info.GetUrn(), Type: info.GetType(), Labels: info.GetLabels(), Payload: p.Monitoring[id]})
	}
	return infos
}
