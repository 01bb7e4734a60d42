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
// by short ids of its own, which are looked up when metrics are read and when
// the job ends, never on a bundle's way.
type metrics struct {
	mu sync.Mutex
	// workers are the sums by short id, not looked up yet or again growing.
	workers map[fnapi.Worker]map[string][]metricData
	totals  map[string]*total
}

// metricData is one bundle's value under a short id.
type metricData struct {
	stage   *stage
	payload []byte
}

// total is one metric's sum over all bundles.
type total struct {
	info *pipepb.MonitoringInfo
	data []byte
}

func newMetrics() *metrics {
	return &metrics{workers: map[fnapi.Worker]map[string][]metricData{}, totals: map[string]*total{}}
}

// maxUnresolved bounds how many values wait under one short id (I9).
const maxUnresolved = 64

// commit adds a bundle's metrics, in the job's loop.
func (m *metrics) commit(hb *harnessBundle, res *fnapi.Result) {
	m.mu.Lock()
	full := false
	ids := m.workers[hb.worker]
	if ids == nil {
		ids = map[string][]metricData{}
		m.workers[hb.worker] = ids
	}
	for id, payload := range res.Monitoring {
		ids[id] = append(ids[id], metricData{hb.x.stage, payload})
		full = full || len(ids[id]) >= maxUnresolved
	}
	if len(res.Monitoring) == 0 {
		for _, info := range res.Infos {
			m.add(hb.x.stage, info, info.GetPayload())
		}
	}
	m.mu.Unlock()
	if full {
		hb.x.job.spawn(func() { m.resolve(hb.x.job.ctx) })
	}
}

// resolve looks short ids up and adds their values to the totals.
func (m *metrics) resolve(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	m.mu.Lock()
	waiting := m.workers
	m.workers = map[fnapi.Worker]map[string][]metricData{}
	m.mu.Unlock()
	for w, ids := range waiting {
		infos, err := w.MonitoringInfos(ctx, slices.Collect(maps.Keys(ids)))
		if err != nil {
			continue // the worker is gone, and with it the meaning of its ids
		}
		m.mu.Lock()
		for id, values := range ids {
			for _, v := range values {
				m.add(v.stage, infos[id], v.payload)
			}
		}
		m.mu.Unlock()
	}
}

// add merges one value into its total; m.mu is held.
func (m *metrics) add(s *stage, info *pipepb.MonitoringInfo, payload []byte) {
	if info == nil {
		return
	}
	labels := s.userLabels(info.GetLabels())
	key := metricKey(info.GetUrn(), labels)
	t := m.totals[key]
	if t == nil {
		t = &total{info: &pipepb.MonitoringInfo{Urn: info.GetUrn(), Type: info.GetType(), Labels: labels}, data: payload}
		m.totals[key] = t
		return
	}
	t.data = mergeMetric(info.GetType(), t.data, payload)
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
	m.resolve(context.Background())
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]*pipepb.MonitoringInfo, 0, len(m.totals))
	for _, k := range slices.Sorted(maps.Keys(m.totals)) {
		t := m.totals[k]
		all = append(all, &pipepb.MonitoringInfo{Urn: t.info.GetUrn(), Type: t.info.GetType(), Labels: t.info.GetLabels(), Payload: t.data})
	}
	return all, all
}
