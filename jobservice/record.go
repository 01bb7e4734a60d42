package jobservice

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	"google.golang.org/protobuf/proto"

	"fresnel/internal/beam"
)

// record is what the data directory knows of one job, besides its log: enough
// to run it again. It is a file that is replaced as a whole:
//
//	"fresnel record 1\n"
//	sealed, about the job's id:
//	    uvarint length of the head
//	    head, in JSON
//	    PrepareJobRequest: the pipeline with its artifacts staged, and the options
type record struct {
	recordHead
	request *jobpb.PrepareJobRequest // nil once the job has ended: see past
}

// recordHead is the record's own part.
type recordHead struct {
	ID       beam.JobID
	Name     string
	Prepared time.Time
	Started  time.Time
	Durable  bool  // the job is to survive the server
	Epoch    int64 // of its last run
	Phase    phase
	Begun    bool       `json:",omitempty"` // the runner has made its state
	From     beam.JobID `json:",omitempty"` // the job whose state it began with
}

// phase is what a server that opens the directory does with a job. Where the
// job's log has a terminal state, that counts: it is written first.
type phase string

const (
	phaseRuns  phase = "runs"  // goes on with it
	phaseKept  phase = "kept"  // leaves it until it is asked to run it
	phaseEnded phase = "ended" // shows what it told
)

const recordMagic = "fresnel record 1\n"

// encode returns the content of the file.
func (r *record) encode(s *sealer) ([]byte, error) {
	if r.request == nil {
		return nil, errors.New("the job has ended, and its record stays as it is")
	}
	head, err := json.Marshal(r.recordHead)
	if err != nil {
		return nil, err
	}
	text := append(binary.AppendUvarint(nil, uint64(len(head))), head...)
	if text, err = (proto.MarshalOptions{}).MarshalAppend(text, r.request); err != nil {
		return nil, err
	}
	return s.seal([]byte(recordMagic), text, []byte(r.ID)), nil
}

// decodeRecord reads what encode wrote for the job with this id. The request is
// left as it is: see parse.
func decodeRecord(id beam.JobID, content []byte, s *sealer) (r *record, request []byte, err error) {
	sealed, ok := bytes.CutPrefix(content, []byte(recordMagic))
	if !ok {
		return nil, nil, errors.New("the file is cut off, or another version of Fresnel wrote it")
	}
	text, err := s.open(sealed, []byte(id))
	if err != nil {
		return nil, nil, errors.New("the file is damaged, or sealed with another key, or another job's")
	}
	size, n := binary.Uvarint(text)
	if n <= 0 || size > uint64(len(text)-n) {
		return nil, nil, errors.New("its head has no end")
	}
	r = &record{}
	if err := json.Unmarshal(text[n:n+int(size)], &r.recordHead); err != nil {
		return nil, nil, fmt.Errorf("its head: %w", err)
	}
	return r, text[n+int(size):], r.check(id)
}

// check refuses what no server writes.
func (r *record) check(id beam.JobID) error {
	switch {
	case r.ID != id:
		return fmt.Errorf("it is of job %q", r.ID)
	case r.Phase != phaseRuns && r.Phase != phaseKept && r.Phase != phaseEnded:
		return fmt.Errorf("its phase is %q", r.Phase)
	}
	return nil
}

// parse reads the record's request.
func (r *record) parse(request []byte) error {
	r.request = &jobpb.PrepareJobRequest{}
	err := proto.Unmarshal(request, r.request)
	if err == nil {
		err = validate(r.request.GetPipeline())
	}
	if err != nil {
		return fmt.Errorf("its pipeline: %w", err)
	}
	return nil
}

func openRecord(path string, id beam.JobID, s *sealer) (r *record, request []byte, err error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	return decodeRecord(id, content, s)
}

// readRecord reads all of it.
func readRecord(path string, id beam.JobID, s *sealer) (*record, error) {
	r, request, err := openRecord(path, id, s)
	if err != nil {
		return nil, err
	}
	return r, r.parse(request)
}
