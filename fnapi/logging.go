package fnapi

import (
	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"

	"fresnel/internal/beam"
)

// Logging takes the log of a harness. It outlives the worker's other streams:
// a harness's last words come after its control stream has ended.
func (s *Server) Logging(stream fnpb.BeamFnLogging_LoggingServer) error {
	w, err := s.caller(stream.Context())
	if err != nil {
		return err
	}
	w.talks.Store(true)
	for {
		list, err := stream.Recv()
		if err != nil {
			return notEOF(err)
		}
		for _, e := range list.GetLogEntries() {
			w.log(logEntry(e))
		}
	}
}

func logEntry(e *fnpb.LogEntry) LogEntry {
	entry := LogEntry{
		Transform: beam.TransformID(e.GetTransformId()),
		Bundle:    e.GetInstructionId(),
		Severity:  int(e.GetSeverity()),
		Message:   e.GetMessage(),
		Trace:     e.GetTrace(),
		Location:  e.GetLogLocation(),
	}
	if e.GetTimestamp().IsValid() {
		entry.At = e.GetTimestamp().AsTime()
	}
	return entry
}
