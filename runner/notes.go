package runner

import "encoding/binary"

// The notes of a job's store: what a server that begins anew reads to go on
// (docs/format.md).
const (
	noteEngine = "e" // rows of the engine's image
	noteFrom   = "f" // the job whose state this one took over
	noteGate   = "w" // gate ──▶ the side input's window that it stands for
	noteGroup  = "g" // stage, shard ──▶ a grouping's state, and what it took in since
	noteMetric = "m" // number of a metric ──▶ what it is, and its value
	noteOwner  = "k" // stage ──▶ the job by whose name a sink keeps its progress
	noteRest   = "h" // block ──▶ the pages of the hot keys that are in it
	notePlan   = "p" // what the plan and its shards were
	noteSource = "r" // stage, shard ──▶ a split and its position
	noteSide   = "s" // stage, side input, window, commit ──▶ what was added
	noteDrain  = "t" // stage, block ──▶ what is in it was truncated
)

func appendStage(key string, stage, part int) []byte {
	b := binary.BigEndian.AppendUint16([]byte(key), uint16(stage))
	return binary.BigEndian.AppendUint16(b, uint16(part))
}

func sourceKey(stage, shard int) string { return string(appendStage(noteSource, stage, shard)) }

// appendOrdered appends bytes that sort as they do alone, whatever follows, and
// none of which is a prefix of another.
func appendOrdered(dst []byte, s string) []byte {
	dst = appendEscaped(dst, s)
	return append(dst, 0, 1)
}

func appendEscaped(dst []byte, s string) []byte {
	for i := range len(s) {
		if dst = append(dst, s[i]); s[i] == 0 {
			dst = append(dst, 0xff)
		}
	}
	return dst
}

// cutOrdered is the way back; false if b was not made so.
func cutOrdered(b string) (s, rest string, ok bool) {
	var out []byte
	for i := 0; i+1 < len(b); i++ {
		switch {
		case b[i] != 0:
			out = append(out, b[i])
		case b[i+1] == 1:
			return string(out), b[i+2:], true
		case b[i+1] == 0xff:
			out = append(out, 0)
			i++
		default:
			return "", "", false
		}
	}
	return "", "", false
}

// fields reads length-prefixed bytes and varints one after another.
type fields struct {
	b   []byte
	bad bool
}

func appendField[T string | []byte](dst []byte, f T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(f))), f...)
}

func (f *fields) uint() uint64 {
	v, n := binary.Uvarint(f.b)
	if n <= 0 {
		f.b, f.bad = nil, true
		return 0
	}
	f.b = f.b[n:]
	return v
}

func (f *fields) int() int64 {
	v := f.uint()
	return int64(v>>1) ^ -int64(v&1)
}

func (f *fields) bytes() []byte {
	n := f.uint()
	if n > uint64(len(f.b)) {
		f.b, f.bad = nil, true
		return nil
	}
	v := f.b[:n:n]
	f.b = f.b[n:]
	return v
}
