package fnapi

import (
	"context"
	"sync"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/encoding/protowire"
)

// urnReadIndex counts the elements that a source has read.
const urnReadIndex = "beam:metric:data_channel:read_index:v1"

// Progress asks the harness how far the bundle is. The answer is nil if the
// bundle is over, or ends before the answer comes.
func (r *running) Progress(ctx context.Context) (*Progress, error) {
	got := make(chan answered, 1)
	r.worker.call(progressRequest(r.bundle.ID), func(resp *fnpb.InstructionResponse, err error) { got <- answered{resp, err} })
	select {
	case a := <-got:
		if a.failure() != nil {
			return nil, a.err // the harness's own error says that the bundle is over
		}
		return r.worker.progress(a.response.GetProcessBundleProgress()), nil
	case <-r.done:
		return nil, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func progressRequest(bundle string) *fnpb.InstructionRequest {
	return &fnpb.InstructionRequest{Request: &fnpb.InstructionRequest_ProcessBundleProgress{
		ProcessBundleProgress: &fnpb.ProcessBundleProgressRequest{InstructionId: bundle},
	}}
}

func (w *worker) progress(resp *fnpb.ProcessBundleProgressResponse) *Progress {
	p := &Progress{Monitoring: resp.GetMonitoringData(), Infos: resp.GetMonitoringInfos(), Consumed: -1}
	for _, info := range p.Infos {
		if info.GetUrn() == urnReadIndex {
			p.Consumed = consumed(info.GetPayload())
			return p
		}
	}
	for id, payload := range p.Monitoring {
		if w.infos.get(id).GetUrn() == urnReadIndex {
			p.Consumed = consumed(payload)
			return p
		}
	}
	return p
}

// consumed turns the index of the element being read into a count.
func consumed(payload []byte) int64 {
	index, n := protowire.ConsumeVarint(payload)
	if n < 0 {
		return -1
	}
	return int64(index) + 1
}

// infoCache is what short ids stand for; a harness never gives one away twice.
type infoCache struct {
	mu   sync.Mutex
	byID map[string]*pipepb.MonitoringInfo
}

func (c *infoCache) get(id string) *pipepb.MonitoringInfo {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.byID[id]
}

// find splits ids into what is known and what is not.
func (c *infoCache) find(ids []string) (known map[string]*pipepb.MonitoringInfo, missing []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known = make(map[string]*pipepb.MonitoringInfo, len(ids))
	for _, id := range ids {
		if info, ok := c.byID[id]; ok {
			known[id] = info
		} else {
			missing = append(missing, id)
		}
	}
	return known, missing
}

// maxInfos bounds the cache: a harness with more ids is asked each time.
const maxInfos = 1 << 17

func (c *infoCache) add(infos map[string]*pipepb.MonitoringInfo) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byID == nil {
		c.byID = make(map[string]*pipepb.MonitoringInfo)
	}
	for id, info := range infos {
		if len(c.byID) < maxInfos {
			c.byID[id] = info
		}
	}
}

// MonitoringInfos resolves short ids. Ids that the harness does not know are
// missing in the answer.
func (w *worker) MonitoringInfos(ctx context.Context, shortIDs []string) (map[string]*pipepb.MonitoringInfo, error) {
	known, missing := w.infos.find(shortIDs)
	if len(missing) == 0 {
		return known, nil
	}
	resp, err := w.ask(ctx, &fnpb.InstructionRequest{Request: &fnpb.InstructionRequest_MonitoringInfos{
		MonitoringInfos: &fnpb.MonitoringInfosMetadataRequest{MonitoringInfoId: missing},
	}})
	if err != nil {
		return nil, err
	}
	infos := resp.GetMonitoringInfos().GetMonitoringInfo()
	w.infos.add(infos)
	for _, id := range missing {
		if info, ok := infos[id]; ok {
			known[id] = info
		}
	}
	return known, nil
}
