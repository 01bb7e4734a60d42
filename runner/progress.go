package runner

import (
	"context"
	"slices"
	"time"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"

	"fresnel/internal/beam"
	"fresnel/jobservice"
	"fresnel/runner/engine"
)

// progressPatience bounds how long a reader of metrics waits for the loop.
const progressPatience = time.Second

// readMetrics are the job's metrics, with the progress of its stages beside what
// was attempted.
func (j *job) readMetrics() (attempted, committed []*pipepb.MonitoringInfo) {
	attempted, committed = j.metrics.read()
	return append(slices.Clip(attempted), j.progress()...), j.lasting(committed)
}

// progress asks the loop, which owns the engine. Of a job whose loop is busy
// nothing is known.
func (j *job) progress() []*pipepb.MonitoringInfo {
	s := j.last.Load()
	if s == nil {
		s = j.askLoop()
	}
	if s == nil {
		return nil
	}
	infos := make([]*pipepb.MonitoringInfo, len(s.Stages))
	for i, st := range s.Stages {
		infos[i] = stageProgress(st).Info()
	}
	return infos
}

func (j *job) askLoop() *engine.Snapshot {
	ctx, cancel := context.WithTimeout(j.ctx, progressPatience)
	defer cancel()
	answer := make(chan engine.Snapshot, 1)
	select {
	case j.asked <- answer:
		s := <-answer // the loop answers at once
		return &s
	case <-ctx.Done():
		return nil
	}
}

func stageProgress(s engine.StageSnapshot) jobservice.StageProgress {
	mark := s.Input
	for _, out := range s.Outputs {
		mark = min(mark, out)
	}
	p := jobservice.StageProgress{
		Name: s.Name, Done: mark >= beam.MaxEventTime && s.Elements == 0 && s.Running == 0 && s.Entries == 0,
		Elements: int64(s.ElementsIn), Bytes: int64(s.BytesIn), Pending: int64(s.Elements),
		Running: int64(s.Running), Failed: int64(s.Failures), Reads: s.Reading > 0,
	}
	if mark > beam.MinEventTime && mark < beam.MaxEventTime {
		ms := int64(mark)
		p.Watermark = &ms
	}
	return p
}
