package fnapi

import (
	"fmt"
	"log/slog"
	"net"
	"testing"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
)

// nothing answers every state request.
type nothing struct{}

func (nothing) Get(StateKey, []byte) (data, next []byte, err error) { return nil, nil, nil }
func (nothing) Append(StateKey, []byte) error                       { return nil }
func (nothing) Clear(StateKey) error                                { return nil }

// FuzzInbound lets a harness say anything in any order about two bundles: each
// ends once, at the latest when the worker does, and is forgotten (I7). Each
// message is a kind, an id, a length and that many bytes.
func FuzzInbound(f *testing.F) {
	message := func(kind, id byte, m proto.Message) []byte {
		wire, err := proto.Marshal(m)
		if err != nil || len(wire) > 255 {
			f.Fatal(err, len(wire))
		}
		return append([]byte{kind, id, byte(len(wire))}, wire...)
	}
	ok := &fnpb.InstructionResponse{Response: &fnpb.InstructionResponse_ProcessBundle{ProcessBundle: &fnpb.ProcessBundleResponse{}}}
	end := &fnpb.Elements{Data: []*fnpb.Elements_Data{{TransformId: "out", Data: []byte("x"), IsLast: true}}}
	split := &fnpb.InstructionResponse{Response: &fnpb.InstructionResponse_ProcessBundleSplit{ProcessBundleSplit: &fnpb.ProcessBundleSplitResponse{
		ChannelSplits: []*fnpb.ProcessBundleSplitResponse_ChannelSplit{{TransformId: "in", LastPrimaryElement: -5, FirstResidualElement: 1 << 62}},
	}}}
	get := &fnpb.StateRequest{StateKey: &fnpb.StateKey{Type: &fnpb.StateKey_Runner_{}}, Request: &fnpb.StateRequest_Get{}}
	writes := &fnpb.StateRequest{
		StateKey: &fnpb.StateKey{Type: &fnpb.StateKey_Runner_{Runner: &fnpb.StateKey_Runner{Key: []byte(stateWritesKey)}}},
		Request:  &fnpb.StateRequest_Append{Append: &fnpb.StateAppendRequest{Data: []byte{2, 0x1a, 0}}},
	}
	f.Add(append(message(2, 0, writes), message(0, 0, ok)...))
	f.Add(append(message(0, 0, ok), message(1, 0, end)...))
	f.Add(append(message(3, 0, ok), append(message(0, 1, split), message(2, 0, get)...)...))
	f.Add(append(message(1, 1, end), message(0, 1, &fnpb.InstructionResponse{Error: "no"})...))
	server, err := NewServer(Config{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(server.Close)
	f.Fuzz(func(t *testing.T, script []byte) { inbound(t, server, script) })
}

func inbound(t *testing.T, server *Server, script []byte) {
	w := newWorker(server, &Environment{Env: &pipepb.Environment{}}, "nowhere")
	st := &stateStream{worker: w, slots: make(chan struct{}, maxStateRequests),
		send: func(*fnpb.StateResponse) error { return nil }}
	d := &Descriptor{ID: "stage", Proto: &fnpb.ProcessBundleDescriptor{}}
	var runs []*running
	for i := range 2 {
		b := &Bundle{ID: fmt.Sprint(i), Descriptor: d, Source: "in", State: nothing{}, Output: discard}
		b.Sinks = append(b.Sinks, "out")
		runs = append(runs, w.Start(b).(*running))
	}
	for len(script) >= 3 {
		kind, id, n := script[0]%5, script[1], min(int(script[2]), len(script)-3)
		say(w, st, runs, kind, fmt.Sprint(id%4), script[3:3+n])
		script = script[3+n:]
	}
	w.lost("the end", nil)
	defer server.descriptors.remove(map[string]bool{d.ID: true})
	for _, r := range runs {
		select {
		case <-r.Done():
		case <-time.After(5 * time.Minute):
			t.Fatal("a bundle does not end with its worker")
		}
		if result, err := r.Result(); (result == nil) == (err == nil) {
			t.Errorf("result %v, error %v", result, err)
		}
		if w.bundle(r.bundle.ID) != nil {
			t.Error("a bundle is not forgotten")
		}
	}
}

// say is one message of the harness, or one act of the runner.
func say(w *worker, st *stateStream, runs []*running, kind byte, id string, wire []byte) {
	switch kind {
	case 0:
		var resp responseIn
		if resp.read(wire) == nil {
			resp.InstructionId = id
			w.respond(&resp)
		}
	case 1:
		var in elementsIn
		if in.decode([][]byte{wire}) == nil {
			for _, e := range in.entries {
				e.instruction = id
				w.deliver(w.streams[0], e)
			}
		}
	case 2:
		req := &fnpb.StateRequest{}
		if proto.Unmarshal(wire, req) == nil {
			req.InstructionId = id
			st.slots <- struct{}{}
			st.dispatch(req)
		}
	case 3:
		r := runs[int(id[0])%len(runs)]
		if r.beginSplit() {
			a := &splitAnswer{got: make(chan struct{})}
			w.call(splitRequest(r.bundle.ID, SplitRequest{Source: "in"}), func(resp *fnpb.InstructionResponse, err error) {
				r.endSplit(a, "in", answered{resp, err})
			})
		}
	case 4:
		runs[int(id[0])%len(runs)].Abandon()
	}
}

func TestAdvertisedAddress(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	for listen, want := range map[string]string{
		"localhost:0": "localhost:" + port, ":8080": "localhost:" + port, "0.0.0.0:1": "localhost:" + port,
		"[::]:1": "localhost:" + port, "runner.example:1": "runner.example:" + port,
	} {
		if got := advertised(Config{Listen: listen}, listener); got != want {
			t.Errorf("listening at %s: %s, want %s", listen, got, want)
		}
	}
	if got := advertised(Config{Advertise: "a:1"}, listener); got != "a:1" {
		t.Error(got)
	}
}
