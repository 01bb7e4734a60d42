package fnapitest

import (
	"errors"
	"fmt"
	"sort"
	"sync"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
)

// Bundle is a bundle as a script sees it.
type Bundle struct {
	ID         string
	Harness    *Harness
	Request    *fnpb.ProcessBundleRequest
	Descriptor *fnpb.ProcessBundleDescriptor
	// Sources and Sinks are transform ids, sorted.
	Sources, Sinks []string
	Families       []Stream
	// Response is what is answered if the script returns no error.
	Response *fnpb.ProcessBundleResponse
	// KeepOpen leaves the outputs without their is_last.
	KeepOpen bool

	stream *dataStream

	mu          sync.Mutex
	more        *sync.Cond
	chunks      []Chunk
	missing     map[Stream]bool // inputs whose end is to come
	ended       map[Stream]bool
	dead        bool
	split       func(*fnpb.ProcessBundleSplitRequest) *fnpb.ProcessBundleSplitResponse
	progress    func() *fnpb.ProcessBundleProgressResponse
	outputsDone bool
}

// Stream is data of a transform, or timers of one of its families.
type Stream struct{ Transform, Family string }

// Chunk is one piece of input.
type Chunk struct {
	Stream
	Data []byte
}

// DataStream is the name of the data stream that the bundle goes over, empty for
// the first.
func (b *Bundle) DataStream() string { return dataStreamOf(b.Request) }

func (h *Harness) newBundle(id string, req *fnpb.ProcessBundleRequest) *Bundle {
	b := h.expect(id)
	b.Request = req
	h.mu.Lock()
	defer h.mu.Unlock()
	h.bundles[id] = b
	delete(h.early, id)
	return b
}

// expect is the bundle of that id, which may be yet to begin: its data can
// overtake its instruction.
func (h *Harness) expect(id string) *Bundle {
	h.mu.Lock()
	defer h.mu.Unlock()
	if b := h.bundles[id]; b != nil {
		return b
	}
	if b := h.early[id]; b != nil {
		return b
	}
	b := &Bundle{ID: id, Harness: h, Response: &fnpb.ProcessBundleResponse{}, ended: make(map[Stream]bool)}
	b.more = sync.NewCond(&b.mu)
	if !h.finished[id] {
		h.early[id] = b
	}
	return b
}

func (h *Harness) bundle(id string) *Bundle {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.bundles[id]
}

func (h *Harness) process(b *Bundle) {
	err := h.prepare(b)
	if err == nil {
		err = h.script(b)
	}
	if err == nil && !b.KeepOpen {
		err = b.CloseOutputs()
	}
	h.mu.Lock()
	delete(h.bundles, b.ID)
	h.finished[b.ID] = true
	h.mu.Unlock()
	if errors.Is(err, errSilent) {
		return
	}
	if err != nil {
		h.reply(b.ID, failure(err))
		return
	}
	h.reply(b.ID, &fnpb.InstructionResponse{Response: &fnpb.InstructionResponse_ProcessBundle{ProcessBundle: b.Response}})
}

// prepare gets the descriptor and opens the data stream.
func (h *Harness) prepare(b *Bundle) error {
	desc, err := h.descriptor(b.Request.GetProcessBundleDescriptorId())
	if err != nil {
		return err
	}
	b.Descriptor = desc
	if err := b.read(desc); err != nil {
		return err
	}
	if b.stream, err = h.dataStream(dataStreamOf(b.Request)); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.missing = make(map[Stream]bool)
	for _, s := range b.Sources {
		b.missing[Stream{Transform: s}] = !b.ended[Stream{Transform: s}]
	}
	for _, f := range b.Families {
		b.missing[f] = !b.ended[f]
	}
	return nil
}

func (b *Bundle) read(desc *fnpb.ProcessBundleDescriptor) error {
	for id, t := range desc.GetTransforms() {
		switch t.GetSpec().GetUrn() {
		case "beam:runner:source:v1":
			b.Sources = append(b.Sources, id)
		case "beam:runner:sink:v1":
			b.Sinks = append(b.Sinks, id)
		case "beam:transform:pardo:v1":
			payload := &pipepb.ParDoPayload{}
			if err := proto.Unmarshal(t.GetSpec().GetPayload(), payload); err != nil {
				return fmt.Errorf("transform %s: %w", id, err)
			}
			for family := range payload.GetTimerFamilySpecs() {
				b.Families = append(b.Families, Stream{id, family})
			}
		}
	}
	sort.Strings(b.Sources)
	sort.Strings(b.Sinks)
	sort.Slice(b.Families, func(i, j int) bool {
		return fmt.Sprint(b.Families[i]) < fmt.Sprint(b.Families[j])
	})
	return nil
}

func (b *Bundle) receive(s Stream, data []byte, last bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	// As Python: data that comes with is_last is dropped.
	if last {
		b.ended[s] = true
		if b.missing != nil {
			b.missing[s] = false
		}
	} else if len(data) > 0 {
		b.chunks = append(b.chunks, Chunk{s, data})
	}
	b.more.Broadcast()
}

// Next waits for input. It is false once all input has been read, or when the
// harness dies.
func (b *Bundle) Next() (Chunk, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		if len(b.chunks) > 0 {
			c := b.chunks[0]
			b.chunks = b.chunks[1:]
			return c, true
		}
		if b.dead || b.complete() {
			return Chunk{}, false
		}
		b.more.Wait()
	}
}

func (b *Bundle) complete() bool {
	for _, missing := range b.missing {
		if missing {
			return false
		}
	}
	return true
}

func (b *Bundle) die() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.dead = true
	b.more.Broadcast()
}

// Emit sends output of a sink.
func (b *Bundle) Emit(sink string, data []byte) error {
	return b.Send(&fnpb.Elements{Data: []*fnpb.Elements_Data{{InstructionId: b.ID, TransformId: sink, Data: data}}})
}

// SetTimers sends timers.
func (b *Bundle) SetTimers(s Stream, timers []byte) error {
	return b.Send(&fnpb.Elements{Timers: []*fnpb.Elements_Timers{{
		InstructionId: b.ID, TransformId: s.Transform, TimerFamilyId: s.Family, Timers: timers,
	}}})
}

// Send sends any message on the bundle's data stream.
func (b *Bundle) Send(e *fnpb.Elements) error { return b.stream.send(e) }

// CloseOutputs ends all outputs; it is called for a script that has not.
func (b *Bundle) CloseOutputs() error {
	if b.outputsDone {
		return nil
	}
	b.outputsDone = true
	e := &fnpb.Elements{}
	for _, sink := range b.Sinks {
		e.Data = append(e.Data, &fnpb.Elements_Data{InstructionId: b.ID, TransformId: sink, IsLast: true})
	}
	for _, f := range b.Families {
		e.Timers = append(e.Timers, &fnpb.Elements_Timers{InstructionId: b.ID, TransformId: f.Transform, TimerFamilyId: f.Family, IsLast: true})
	}
	if len(e.Data)+len(e.Timers) == 0 {
		return nil
	}
	return b.Send(e)
}

// OnSplit sets who answers the bundle's split requests; before it is set,
// nothing is split.
func (b *Bundle) OnSplit(f func(*fnpb.ProcessBundleSplitRequest) *fnpb.ProcessBundleSplitResponse) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.split = f
}

// OnProgress sets who answers the bundle's progress requests.
func (b *Bundle) OnProgress(f func() *fnpb.ProcessBundleProgressResponse) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.progress = f
}

func (b *Bundle) onSplit() func(*fnpb.ProcessBundleSplitRequest) *fnpb.ProcessBundleSplitResponse {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.split
}

func (b *Bundle) onProgress() func() *fnpb.ProcessBundleProgressResponse {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.progress
}
