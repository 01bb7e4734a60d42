package fnapi

import (
	"context"
	"errors"
	"io"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Control carries instructions to a harness and its responses back. Its end is
// the end of the worker.
func (s *Server) Control(stream fnpb.BeamFnControl_ControlServer) error {
	w, err := s.caller(stream.Context())
	if err != nil {
		return err
	}
	if err := w.attach(stream.Context()); err != nil {
		return status.Error(codes.AlreadyExists, err.Error())
	}
	ends := make(chan error, 2)
	go func() { ends <- w.readControl(stream) }()
	go func() { ends <- w.writeControl(stream) }()
	select {
	case err := <-ends:
		w.lost("it is gone: its control stream ended", err)
	case <-w.parting.begun:
	case <-w.gone:
	}
	return nil
}

// notEOF is err, but for the orderly end of a stream.
func notEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func (w *worker) readControl(stream fnpb.BeamFnControl_ControlServer) error {
	for {
		var in responseIn
		if err := stream.RecvMsg(&in); err != nil {
			return err
		}
		w.respond(&in)
	}
}

func (w *worker) writeControl(stream fnpb.BeamFnControl_ControlServer) error {
	for {
		select {
		case <-w.gone:
			return nil
		case <-w.control.more:
		}
		for _, req := range w.control.take() {
			if err := stream.Send(req); err != nil {
				return err
			}
		}
	}
}

// GetProcessBundleDescriptor answers any harness: TypeScript and others do not
// say who they are in this call.
func (s *Server) GetProcessBundleDescriptor(_ context.Context, req *fnpb.GetProcessBundleDescriptorRequest) (*fnpb.ProcessBundleDescriptor, error) {
	desc, ok := s.descriptors.get(req.GetProcessBundleDescriptorId())
	if !ok {
		return nil, status.Errorf(codes.NotFound, "no bundle descriptor %q", req.GetProcessBundleDescriptorId())
	}
	return desc, nil
}
