package kafka

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"time"

	"fresnel/internal/beam"
)

// topicPartition names a partition.
type topicPartition struct {
	topic     string
	partition int32
}

func (tp topicPartition) String() string {
	return tp.topic + "-" + strconv.Itoa(int(tp.partition))
}

// A position is a run of big-endian int64: for a split of one partition the
// offset of the next record; for a bounded read the number of records that it
// returned, the time at which it ends (milliseconds, 0 for never) and one
// offset for each partition.
type position []int64

func (p position) encode() []byte {
	b := make([]byte, 0, 8*len(p))
	for _, v := range p {
		b = binary.BigEndian.AppendUint64(b, uint64(v))
	}
	return b
}

// decodePosition reads a position of n numbers.
func decodePosition(b []byte, n int) (position, error) {
	if len(b) != 8*n {
		return nil, &beam.Error{Code: beam.Internal, What: fmt.Sprintf("a position of %d bytes where %d are expected", len(b), 8*n)}
	}
	p := make(position, n)
	for i := range p {
		p[i] = int64(binary.BigEndian.Uint64(b[8*i:]))
	}
	return p, nil
}

// eventNow is now as the watermarks see it.
func eventNow() beam.EventTime { return beam.FromTime(time.Now()) }
