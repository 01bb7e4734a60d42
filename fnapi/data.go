package fnapi

import (
	"fmt"
	"strconv"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// maxDataStreams bounds the streams of a harness that can have several. A
// bundle that is slow to read its input blocks the others on its stream, so
// each gets its own while there are enough.
const maxDataStreams = 8

// dataStream is one Data stream of a worker and what is to be sent on it. It
// exists before the harness opens it.
type dataStream struct {
	name  string // data_stream_id; empty for the first
	feeds *outbox[*feed]

	// guarded by the worker's mu
	attached bool
	open     int // bundles on it, without those that have emitted all
}

// pickStream is the stream with the fewest bundles. Called with w.mu held.
func (w *worker) pickStream() *dataStream {
	var least *dataStream
	for _, s := range w.streams {
		if least == nil || s.open < least.open {
			least = s
		}
	}
	full := len(w.streams) >= maxDataStreams || !w.named
	if least != nil && (least.open == 0 || full) {
		return least
	}
	return w.addStream()
}

// leaveStream counts the bundle off its data stream. Called with the worker's lock
// held.
func (r *running) leaveStream() {
	if !r.left {
		r.left = true
		r.stream.open--
	}
}

func (w *worker) addStream() *dataStream {
	s := &dataStream{feeds: newOutbox[*feed]()}
	if len(w.streams) > 0 {
		s.name = strconv.Itoa(len(w.streams))
	}
	w.streams = append(w.streams, s)
	return s
}

// attachData is the stream that a harness opens. It may open the first before
// there is a bundle.
func (w *worker) attachData(name string) (*dataStream, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if name == "" && len(w.streams) == 0 {
		w.addStream()
	}
	for _, s := range w.streams {
		if s.name != name {
			continue
		}
		if s.attached {
			return nil, status.Errorf(codes.AlreadyExists, "worker %s has this data stream already", w.id)
		}
		s.attached = true
		return s, nil
	}
	return nil, status.Errorf(codes.NotFound, "no data stream %q was asked for", name)
}

// Data carries elements and timers. The end of a data stream is the end of the
// worker: nobody can tell what was lost with it.
func (s *Server) Data(stream fnpb.BeamFnData_DataServer) error {
	w, err := s.caller(stream.Context())
	if err != nil {
		return err
	}
	ds, err := w.attachData(metadataValue(stream.Context(), "data_stream_id"))
	if err != nil {
		return err
	}
	w.parting.streamOpens()
	ends := make(chan error, 2)
	go func() { ends <- w.readData(ds, stream) }()
	go func() { ends <- w.writeData(ds, stream) }()
	select {
	case err := <-ends:
		if w.parting.streamEnds() {
			return nil
		}
		w.lost("it is gone: its data stream ended", err)
	case <-w.gone:
	}
	return nil
}

func (w *worker) readData(ds *dataStream, stream fnpb.BeamFnData_DataServer) error {
	var in elementsIn
	for {
		if err := stream.RecvMsg(&in); err != nil {
			return err
		}
		for _, e := range in.entries {
			w.deliver(ds, e)
		}
		in.release()
	}
}

// deliver gives output to its bundle. Output of a bundle that is over is
// dropped: it failed, or was abandoned.
func (w *worker) deliver(ds *dataStream, e entry) {
	r := w.bundle(e.instruction)
	if r == nil {
		return
	}
	if r.stream != ds {
		r.violate(fmt.Sprintf("output arrived on data stream %q instead of %q", ds.name, r.stream.name))
		return
	}
	r.take(e)
}

// writeData sends a frame of each bundle in turn.
func (w *worker) writeData(ds *dataStream, stream fnpb.BeamFnData_DataServer) error {
	var turn []*feed
	for {
		if turn = append(turn, ds.feeds.take()...); len(turn) == 0 {
			select {
			case <-w.gone:
				return nil
			case <-ds.feeds.more:
			}
			continue
		}
		rest := turn[:0]
		for _, f := range turn {
			more, err := sendFrame(stream, f)
			if err != nil {
				return err
			}
			if more {
				rest = append(rest, f)
			}
		}
		clear(turn[len(rest):])
		turn = rest
	}
}

func sendFrame(stream fnpb.BeamFnData_DataServer, f *feed) (more bool, err error) {
	switch f.now() {
	case feedDropped:
		return false, nil
	case feedCut:
		f.truncate()
	}
	msg, last := f.next()
	return !last, stream.SendMsg(msg)
}
