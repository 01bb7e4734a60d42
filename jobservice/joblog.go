package jobservice

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math"
	"os"
	"strings"
	"time"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	"google.golang.org/protobuf/proto"
)

// jobLog is the history of a job in a file that only grows:
//
//	"fresnel log 1\n"
//	frames: length of the payload, its CRC-32C (4 bytes each, little-endian), payload
//	payload of a message:  'm', level, time, seq, ord, text
//	payload of a state:    's', state, time, seq, ord
//	payload of metrics:    'x', MetricResults
//
// Level and state are one byte each; time (nanoseconds since 1970), seq and ord (see
// entry) are signed varints. What was being written at a crash is a frame that
// does not check out, and the log ends before it. When the file has grown to
// maxLogBytes it is written anew with what the history in memory still has.
type jobLog struct {
	path string
	file logFile
	size int64 // of the frames that are whole
	torn bool  // more may follow them
}

// logFile is what a jobLog needs of its file.
type logFile interface {
	io.WriterAt
	Truncate(size int64) error
	Sync() error
	Close() error
}

const (
	logMagic    = "fresnel log 1\n"
	maxLogBytes = 8 << 20
	frameHead   = 8
	// maxFrame is more than any payload that is written.
	maxFrame = maxMessageBytes + 4<<10
	// maxKeptMetrics is what a client can receive.
	maxKeptMetrics = maxMessageBytes
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// createLog makes the log of a job that has told h so far.
func createLog(path string, h *history, sync bool) (*jobLog, error) {
	content := encodeLog(h)
	if err := replaceFile(path, content, sync); err != nil {
		return nil, err
	}
	return reopenLog(path, int64(len(content)))
}

// reopenLog goes on with a log of which size bytes are whole.
func reopenLog(path string, size int64) (*jobLog, error) {
	f, err := os.OpenFile(path, os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	return &jobLog{path: path, file: f, size: size, torn: true}, nil
}

// append adds one payload. If that fails the log stays as it was, and may be
// appended to again: a reader sees from seq and ord what is missing.
func (l *jobLog) append(payload []byte, sync bool) error {
	if l.torn {
		if err := l.file.Truncate(l.size); err != nil {
			return err
		}
	}
	frame := appendFrame(nil, payload)
	l.torn = true
	if _, err := l.file.WriteAt(frame, l.size); err != nil {
		return err
	}
	if sync {
		if err := l.file.Sync(); err != nil {
			return err
		}
	}
	l.torn = false
	l.size += int64(len(frame))
	return nil
}

// compact writes the log anew if it has grown too large.
func (l *jobLog) compact(h *history, sync bool) error {
	if l.size < maxLogBytes {
		return nil
	}
	smaller, err := createLog(l.path, h, sync)
	if err != nil {
		return err
	}
	_ = l.file.Close() // it has no name any more
	*l = *smaller
	return nil
}

func (l *jobLog) close() error { return l.file.Close() }

func encodeLog(h *history) []byte {
	content := []byte(logMagic)
	for _, part := range [][]entry{h.head, h.kept, h.tail} {
		for i := range part {
			content = appendFrame(content, part[i].encode())
		}
	}
	return content
}

func appendFrame(b, payload []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(payload)))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(payload, castagnoli))
	return append(b, payload...)
}

const (
	kindMessage = 'm'
	kindState   = 's'
	kindMetrics = 'x'
)

func (e *entry) encode() []byte {
	b := make([]byte, 0, len(e.text)+2+3*binary.MaxVarintLen64)
	if e.isState() {
		b = append(b, kindState, byte(e.state))
	} else {
		b = append(b, kindMessage, byte(e.level))
	}
	for _, n := range []int64{e.at.UnixNano(), e.seq, e.ord} {
		b = binary.AppendVarint(b, n)
	}
	return append(b, e.text...)
}

// encodeMetrics returns the payload of metrics, nil if they are too large to keep.
func encodeMetrics(m *jobpb.MetricResults) []byte {
	if m == nil || proto.Size(m) > maxKeptMetrics {
		return nil
	}
	b, err := proto.MarshalOptions{}.MarshalAppend([]byte{kindMetrics}, m)
	if err != nil {
		return nil // text that is not UTF-8: it could not be sent either
	}
	return b
}

// told is what a log says of a job.
type told struct {
	history, states history
	state           jobpb.JobState_Enum // the last one
	since           time.Time
	drained         bool   // the job was asked to drain
	lastError       string // the last message of level Error
	metrics         []byte // MetricResults
	size            int64  // of the frames that are whole
	cutOff          int64  // bytes that follow them
}

// readLog reads a log up to the first frame that is not whole.
func readLog(path string) (*told, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return decodeLog(content)
}

func decodeLog(content []byte) (*told, error) {
	rest, ok := bytes.CutPrefix(content, []byte(logMagic))
	if !ok {
		return nil, errors.New("the file is cut off, or another version of Fresnel wrote it")
	}
	t := &told{}
	for {
		payload, after, ok := cutFrame(rest)
		if !ok || !t.take(payload) {
			t.size, t.cutOff = int64(len(content)-len(rest)), int64(len(rest))
			return t, nil
		}
		rest = after
	}
}

// cutFrame returns the payload of the first frame, if it is whole.
func cutFrame(b []byte) (payload, rest []byte, ok bool) {
	if len(b) < frameHead {
		return nil, nil, false
	}
	size, sum := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
	if b = b[frameHead:]; size == 0 || size > maxFrame || int(size) > len(b) {
		return nil, nil, false
	}
	return b[:size], b[size:], crc32.Checksum(b[:size], castagnoli) == sum
}

// take adds what a payload says, and tells whether it can be read.
func (t *told) take(payload []byte) bool {
	if payload[0] == kindMetrics {
		t.metrics = bytes.Clone(payload[1:])
		return true
	}
	e, ok := decodeEntry(payload)
	if !ok || !t.history.restore(e) {
		return false
	}
	if !e.isState() {
		if e.level == Error {
			t.lastError = e.text
		}
		return true
	}
	t.states.addState(e.state, e.at)
	t.state, t.since = e.state, e.at
	t.drained = t.drained || e.state == draining
	return true
}

func decodeEntry(b []byte) (entry, bool) {
	if len(b) < 2 {
		return entry{}, false
	}
	var e entry
	kind, what := b[0], b[1]
	b = b[2:]
	var numbers [3]int64
	for i := range numbers {
		n, size := binary.Varint(b)
		if size <= 0 {
			return entry{}, false
		}
		numbers[i], b = n, b[size:]
	}
	e.at, e.seq, e.ord = time.Unix(0, numbers[0]), numbers[1], numbers[2]
	switch {
	case kind == kindMessage && what <= byte(Error):
		e.level, e.text = Level(what), strings.ToValidUTF8(string(b), "\uFFFD")
	case kind == kindState && jobpb.JobState_Enum_name[int32(what)] != "" && what != 0:
		e.state = jobpb.JobState_Enum(what)
	default:
		return entry{}, false
	}
	return e, e.seq >= 0 && e.ord >= 0 && max(e.seq, e.ord) < math.MaxInt64/2
}
