package fnapi

import (
	"bytes"
	"fmt"
	"testing"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"fresnel/internal/beam"
)

// elements is a message as the proto runtime reads it.
func elements(e *fnpb.Elements) (all []entry) {
	for _, d := range e.GetData() {
		all = append(all, entry{instruction: d.GetInstructionId(), transform: d.GetTransformId(), data: Payload{d.GetData()}, last: d.GetIsLast()})
	}
	for _, t := range e.GetTimers() {
		all = append(all, entry{
			instruction: t.GetInstructionId(), transform: t.GetTransformId(), family: t.GetTimerFamilyId(),
			timers: true, data: Payload{t.GetTimers()}, last: t.GetIsLast(),
		})
	}
	return all
}

// byKind puts data before timers, as elements does.
func byKind(all []entry) (sorted []entry) {
	for _, timers := range []bool{false, true} {
		for _, e := range all {
			if e.timers == timers {
				sorted = append(sorted, e)
			}
		}
	}
	return sorted
}

func same(a, b []entry) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		x, y := a[i], b[i]
		if x.instruction != y.instruction || x.transform != y.transform || x.family != y.family ||
			x.timers != y.timers || x.last != y.last || !bytes.Equal(x.data.Joined(), y.data.Joined()) {
			return false
		}
	}
	return true
}

// FuzzElements holds the codec against the proto runtime, for messages in one
// piece and in many.
func FuzzElements(f *testing.F) {
	seed := &fnpb.Elements{
		Data:   []*fnpb.Elements_Data{{InstructionId: "i", TransformId: "t", Data: []byte("data")}, {IsLast: true}},
		Timers: []*fnpb.Elements_Timers{{InstructionId: "i", TransformId: "t", TimerFamilyId: "f", Timers: []byte("timers")}, {IsLast: true}},
	}
	wire, err := proto.Marshal(seed)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(wire)
	f.Add([]byte{0x0a, 0x80, 0x80, 0x80, 0x80, 0x10})
	f.Fuzz(func(t *testing.T, wire []byte) {
		want := &fnpb.Elements{}
		wantErr := proto.Unmarshal(wire, want)
		for _, size := range []int{len(wire) + 1, 3, 1} {
			var got elementsIn
			gotErr := newCodec().Unmarshal(inPieces(wire, size), &got)
			if wantErr != nil {
				continue // also for strings that are not UTF-8, which do no harm here
			}
			if gotErr != nil || !same(byKind(got.entries), elements(want)) {
				t.Errorf("%x: got %+v, %v, want %+v", wire, got.entries, gotErr, elements(want))
			}
		}
	})
}

// FuzzResponse holds a response of which the infos are read apart against the
// whole.
func FuzzResponse(f *testing.F) {
	for _, r := range []*fnpb.ProcessBundleResponse{
		{}, {MonitoringData: map[string][]byte{"1": {2}}},
		{RequiresFinalization: true, MonitoringInfos: []*pipepb.MonitoringInfo{{Urn: "a"}, {Urn: "b"}}},
		{MonitoringInfos: []*pipepb.MonitoringInfo{{Urn: "a"}}, MonitoringData: map[string][]byte{"1": {2}},
			ResidualRoots: []*fnpb.DelayedBundleApplication{{}}},
	} {
		wire, err := proto.Marshal(&fnpb.InstructionResponse{InstructionId: "i", Response: &fnpb.InstructionResponse_ProcessBundle{ProcessBundle: r}})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wire)
		f.Add(append(wire, 0xc2, 0x3e, 0)) // and another response, which counts
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		want, in := &fnpb.InstructionResponse{}, &responseIn{}
		if proto.Unmarshal(wire, want) != nil {
			return
		}
		if err := newCodec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(wire)}, in); err != nil {
			t.Fatal(err)
		}
		got := in.InstructionResponse
		if b := got.GetProcessBundle(); len(b.GetMonitoringData()) > 0 && len(b.GetMonitoringInfos()) == 0 {
			b.MonitoringInfos = (&Result{infos: in.infos}).NamedInfos()
		}
		if !proto.Equal(got, want) {
			t.Errorf("%x: got %v, want %v", wire, got, want)
		}
	})
}

// FuzzFrames has the proto runtime read what a feed writes: runs whole and in
// order, data and its end apart, one end of each stream.
func FuzzFrames(f *testing.F) {
	f.Add([]byte("abc"), uint16(1), uint16(2), uint16(3))
	f.Add([]byte{}, uint16(0), uint16(0), uint16(0))
	f.Add(bytes.Repeat([]byte("x"), 5000), uint16(300), uint16(2), uint16(300))
	f.Fuzz(func(t *testing.T, run []byte, runs, timers, scale uint16) {
		run, runs = run[:min(len(run), 4096)], runs%100
		b := &Bundle{ID: "bundle", Source: "source", TimerFamilies: []TimerFamily{{"t", "a"}}}
		var wantData, wantTimers []byte
		for i := range runs {
			r := bytes.Repeat(run, int(i*scale)%100)
			b.Input = append(b.Input, r)
			wantData = append(wantData, r...)
		}
		for range timers % 50 {
			b.Timers = append(b.Timers, TimerData{TimerFamily{"t", "b"}, run})
			wantTimers = append(wantTimers, run...)
		}
		gotData, gotTimers, ends := readFeed(t, newFeed(b))
		if !bytes.Equal(gotData, wantData) || !bytes.Equal(gotTimers, wantTimers) {
			t.Error("the bytes differ")
		}
		if want := 2 + min(1, int(timers%50)); ends != want {
			t.Errorf("%d ends, want %d", ends, want)
		}
	})
}

func readFeed(t *testing.T, f *feed) (data, timers []byte, ends int) {
	for last := false; !last; {
		var msg *elementsOut
		msg, last = f.next()
		e := &fnpb.Elements{}
		if err := proto.Unmarshal(msg.wire.Materialize(), e); err != nil {
			t.Fatal(err)
		}
		for _, got := range elements(e) {
			if got.instruction != "bundle" {
				t.Errorf("instruction %q", got.instruction)
			}
			if got.last {
				ends++
			}
			if got.last && got.data.Size() > 0 {
				t.Error("data in an entry with is_last")
			}
			if got.timers {
				timers = append(timers, got.data.Joined()...)
			} else {
				data = append(data, got.data.Joined()...)
			}
		}
	}
	return data, timers, ends
}

func TestFeedThatIsCutSendsItsEnds(t *testing.T) {
	t.Parallel()
	f := newFeed(&Bundle{ID: "bundle", Source: "source", Input: [][]byte{make([]byte, 2*frameBytes), []byte("rest")}})
	if _, last := f.next(); last {
		t.Fatal("one frame for two megabytes and more")
	}
	f.truncate()
	if data, _, ends := readFeed(t, f); len(data) > 0 || ends != 1 {
		t.Errorf("%d bytes and %d ends after the cut", len(data), ends)
	}
}

// discard is what a bundle's output goes to in benchmarks.
func discard(beam.TransformID, string, Payload) error { return nil }

func BenchmarkFrames(b *testing.B) {
	run := make([]byte, 100<<10)
	input := make([][]byte, 100)
	for i := range input {
		input[i] = run
	}
	b.SetBytes(int64(len(run) * len(input)))
	b.ReportAllocs()
	for b.Loop() {
		f := newFeed(&Bundle{ID: "bundle", Source: "source", Input: input})
		for last := false; !last; {
			_, last = f.next()
		}
	}
}

// BenchmarkResponse reads a response with 17 metrics, the number of a stage of
// one Python DoFn, as Python sends it and by the proto runtime alone.
func BenchmarkResponse(b *testing.B) {
	r := &fnpb.ProcessBundleResponse{MonitoringData: make(map[string][]byte)}
	for i := range 17 {
		payload := []byte{1, 2, 3, 4}
		r.MonitoringData[fmt.Sprint(i)] = payload
		r.MonitoringInfos = append(r.MonitoringInfos, &pipepb.MonitoringInfo{
			Urn: "beam:metric:pardo_execution_time:process_bundle_msecs:v1", Type: "beam:metrics:sum_int64:v1", Payload: payload,
			Labels: map[string]string{"PTRANSFORM": fmt.Sprint("ref_AppliedPTransform_", i)},
		})
	}
	wire, err := proto.Marshal(&fnpb.InstructionResponse{Response: &fnpb.InstructionResponse_ProcessBundle{ProcessBundle: r}})
	if err != nil {
		b.Fatal(err)
	}
	b.Run("codec", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = newCodec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(wire)}, &responseIn{})
		}
	})
	b.Run("proto", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = proto.Unmarshal(wire, &fnpb.InstructionResponse{})
		}
	})
}
