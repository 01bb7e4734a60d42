package runner

import (
	"bytes"
	"context"
	"encoding/binary"
	"maps"
	"slices"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"

	"fresnel/fnapi"
	"fresnel/runner/store"
)

// The committed metrics of a durable job are in its store: a commit writes those
// that it changed into its own batch (I1), so that a job that goes on counts on
// from its last commit. Each metric has a row that says what it is, written once,
// and one with its value.

// keptMetrics is what of a job's totals is on disk.
type keptMetrics struct {
	last  uint32 // the last number of a metric
	dirty []*total
	// told is what was last told of them as committed.
	told []*pipepb.MonitoringInfo
}

// keptTotal is a metric's number, 0 before its first row, and the value in its
// row; dirty tells that there may be another.
type keptTotal struct {
	id    uint32
	value []byte
	dirty bool
}

const (
	metricMeaning = 'd'
	metricValue   = 'v'
)

func metricNote(kind byte, id uint32) string {
	return string(binary.BigEndian.AppendUint32([]byte{noteMetric[0], kind}, id))
}

// changed notes that a total may have changed; nil is none.
func (k *keptMetrics) changed(t *total) {
	if k != nil && t != nil && !t.kept.dirty {
		t.kept.dirty = true
		k.dirty = append(k.dirty, t)
	}
}

// record writes what has changed.
func (m *metrics) record(b *store.Batch) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, t := range m.kept.dirty {
		t.kept.dirty = false
		if t.kept.id == 0 {
			m.kept.last++
			t.kept.id = m.kept.last
			b.Note(metricNote(metricMeaning, t.kept.id), t.meaning())
		}
		if v := t.sum.payload(); t.kept.value == nil || !bytes.Equal(v, t.kept.value) {
			b.Note(metricNote(metricValue, t.kept.id), v)
			t.kept.value = v
		}
	}
	m.kept.dirty = m.kept.dirty[:0]
}

// meaning is the row that says what the metric is.
func (t *total) meaning() []byte {
	row := appendField(appendField(nil, t.info.GetUrn()), t.info.GetType())
	for _, k := range slices.Sorted(maps.Keys(t.info.GetLabels())) {
		row = appendField(appendField(row, k), t.info.GetLabels()[k])
	}
	return row
}

// recover begins with the totals that the store has.
func (m *metrics) recover(d *store.Disk) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.kept = &keptMetrics{}
	byID := map[string]*total{} // meanings come before values
	err := d.Notes(noteMetric, noteMetric+"\xff", func(key string, row []byte) error {
		if len(key) != len(noteMetric)+5 {
			return badNote("a metric's key")
		}
		kind, id := key[len(noteMetric)], key[len(noteMetric)+1:]
		if kind == metricMeaning {
			t, err := m.recoverMeaning(binary.BigEndian.Uint32([]byte(id)), row)
			byID[id] = t
			return err
		}
		t := byID[id]
		if kind != metricValue || t == nil {
			return badNote("the value of a metric that there is none of")
		}
		t.kept.value = bytes.Clone(row)
		t.sum.add(t.kept.value)
		return nil
	})
	m.kept.told = m.totals.infos()
	return err
}

func (m *metrics) recoverMeaning(id uint32, row []byte) (*total, error) {
	f := fields{b: row}
	info := &pipepb.MonitoringInfo{Urn: string(f.bytes()), Type: string(f.bytes())}
	labels := map[string]string{}
	for len(f.b) > 0 && !f.bad {
		k := string(f.bytes())
		labels[k] = string(f.bytes())
	}
	if f.bad || id == 0 {
		return nil, badNote("what a metric is")
	}
	t := m.totals.labelled(info, labels)
	t.kept.id, m.kept.last = id, max(m.kept.last, id)
	return t, nil
}

// learn asks for the meaning of short ids that are new, before their bundle is
// reported done: so what was counted under them is part of its commit. Of a
// worker that has not answered once, it is asked later.
func (m *metrics) learn(ctx context.Context, worker fnapi.Worker, w *workerMetrics, res *fnapi.Result) {
	ids := m.unknown(w, res)
	if len(ids) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, settlePatience)
	defer cancel()
	infos, err := worker.MonitoringInfos(ctx, ids)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		w.silent = true
		return
	}
	m.explain(w, ids, infos)
}

// unknown are the short ids of a result that are to be asked for.
func (m *metrics) unknown(w *workerMetrics, res *fnapi.Result) (ids []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.kept == nil || m.settled || len(res.Monitoring) == 0 {
		return nil
	}
	if w.silent {
		return nil
	}
	if res.Named() {
		return nil // they are counted without
	}
	return w.unknown(res)
}

// lasting is what may be told of committed metrics: once the commits that counted
// them are on disk (I3), and what was told before where that takes long.
func (j *job) lasting(committed []*pipepb.MonitoringInfo) []*pipepb.MonitoringInfo {
	if !j.metrics.awaitsDisk() {
		return committed
	}
	if j.awaitDurable() {
		return j.metrics.tell(committed)
	}
	return j.metrics.tell(nil)
}

func (m *metrics) awaitsDisk() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.kept != nil && !m.settled
}

// tell notes what is told as committed, or returns what was told last.
func (m *metrics) tell(committed []*pipepb.MonitoringInfo) []*pipepb.MonitoringInfo {
	m.mu.Lock()
	defer m.mu.Unlock()
	if committed != nil {
		m.kept.told = committed
	}
	return m.kept.told
}

// awaitDurable returns when all that was committed before is on disk; false if
// that takes long, as on a disk that is full.
func (j *job) awaitDurable() bool {
	ctx, cancel := context.WithTimeout(j.ctx, progressPatience)
	defer cancel()
	durable := make(chan struct{})
	ask := func() {
		if j.journal.durable == j.applied {
			close(durable)
			return
		}
		j.onceDurable(j.applied, func() { close(durable) })
	}
	return offer(j.looks, ask, ctx.Done()) && wasClosed(durable, ctx.Done())
}
