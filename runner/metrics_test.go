package runner

import (
	"context"
	"errors"
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"

	"fresnel/fnapi"
	"fresnel/internal/beam"
	"fresnel/translate"
)

// namer is a worker that knows its short ids for a while.
type namer struct {
	fnapi.Worker
	gone bool
}

func (n *namer) MonitoringInfos(_ context.Context, ids []string) (map[string]*pipepb.MonitoringInfo, error) {
	if n.gone {
		return nil, errors.New("it is gone")
	}
	infos := map[string]*pipepb.MonitoringInfo{}
	for _, id := range ids {
		infos[id] = &pipepb.MonitoringInfo{Urn: id, Type: "beam:metrics:sum_int64:v1"}
	}
	return infos, nil
}

// TestALostWorkerLeavesNothingButItsCounts: the bundle that it finished last is
// committed after it is lost.
func TestALostWorkerLeavesNothingButItsCounts(t *testing.T) {
	t.Parallel()
	m := newMetrics()
	hb := &harnessBundle{x: &harnessExecutor{stage: &stage{plan: &translate.Stage{Transforms: map[beam.TransformID]string{}}}}}
	for range 100 {
		w := &namer{}
		m.join(w)
		record := m.of(w)
		m.commit(hb, record, &fnapi.Result{Monitoring: map[string][]byte{"n": ints(1)}})
		m.ask(t.Context(), w, record)
		w.gone = true
		m.forget(t.Context(), w)
		m.commit(hb, m.of(w), &fnapi.Result{Monitoring: map[string][]byte{"of nobody": ints(1)}})
		m.commit(hb, record, &fnapi.Result{Monitoring: map[string][]byte{"n": ints(1)}})
	}
	if len(m.workers) != 0 {
		t.Errorf("%d records of lost workers", len(m.workers))
	}
	if infos := m.totals.infos(); len(infos) != 1 || string(infos[0].GetPayload()) != string(ints(200)) {
		t.Errorf("%v", infos)
	}
}

// TestTheUsersMetricsComeFirst: runner_test of Beam takes the first counter for the
// one that its pipeline counts.
func TestTheUsersMetricsComeFirst(t *testing.T) {
	t.Parallel()
	m := newMetrics()
	hb := &harnessBundle{x: &harnessExecutor{stage: &stage{plan: &translate.Stage{Transforms: map[beam.TransformID]string{}}}}}
	w := &namer{}
	m.join(w)
	const user, system = "beam:metric:user:sum_int64:v1", "beam:metric:element_count:v1"
	m.commit(hb, m.of(w), &fnapi.Result{Monitoring: map[string][]byte{system: ints(1), user: ints(2)}})
	attempted, committed := m.read()
	for _, infos := range [][]*pipepb.MonitoringInfo{attempted, committed} {
		if len(infos) != 2 || infos[0].GetUrn() != user {
			t.Errorf("%v", infos)
		}
	}
}

// TestWhatIsLostIsAttempted: a bundle that came to its end and was not committed, as
// that of which a timer set another that had fired with it, whether the meaning of its
// short ids is known then or later.
func TestWhatIsLostIsAttempted(t *testing.T) {
	t.Parallel()
	m := newMetrics()
	hb := &harnessBundle{x: &harnessExecutor{stage: &stage{plan: &translate.Stage{Transforms: map[beam.TransformID]string{}}}}}
	w := &namer{}
	m.join(w)
	res := &fnapi.Result{Monitoring: map[string][]byte{"n": ints(2)}}
	m.lose(hb, m.of(w), res)
	m.commit(hb, m.of(w), res)
	m.ask(t.Context(), w, m.of(w))
	m.lose(hb, m.of(w), res)
	for range 2 {
		attempted, committed := m.read()
		if len(attempted) != 1 || string(attempted[0].GetPayload()) != string(ints(6)) {
			t.Errorf("attempted %v", attempted)
		}
		if len(committed) != 1 || string(committed[0].GetPayload()) != string(ints(2)) {
			t.Errorf("committed %v", committed)
		}
		m.settle(t.Context())
	}
}
