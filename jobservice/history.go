package jobservice

import (
	"fmt"
	"slices"
	"strings"
	"time"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
)

// What a job's history keeps. The oldest messages tell how the job began, the
// newest how it ended; what lies between is dropped first.
const (
	maxHeadMessages = 500
	maxHeadBytes    = 512 << 10
	maxTailMessages = 2000
	maxTailBytes    = 2 << 20
	// maxMessageBytes cuts a single text. The Python client refuses to receive
	// more than 4 MB at once, and loses its message stream when it does.
	maxMessageBytes = 1 << 20
	// entryOverhead is what an entry takes besides its text, about.
	entryOverhead = 96
)

// entry is one line of a job's history: a message, or a change of state.
type entry struct {
	at    time.Time
	seq   int64 // position among all entries of the job, from 0
	ord   int64 // number of messages before this entry: a jump shows a gap
	text  string
	state jobpb.JobState_Enum // UNSPECIFIED in a message
	level Level
}

func (e *entry) isState() bool { return e.state != jobpb.JobState_UNSPECIFIED }
func (e *entry) size() int     { return len(e.text) + entryOverhead }

// history is what a job told, in order: all states, the first messages and
// the last ones. The lock of its job guards it.
type history struct {
	head []entry // the first entries
	kept []entry // states whose neighbours were dropped
	tail []entry // the newest entries; empty while head has room

	headBytes, tailBytes int
	seq, ord             int64
	headClosed           bool

	// wake is closed when an entry is added; nil while nobody waits.
	wake chan struct{}
}

func (h *history) addMessage(level Level, at time.Time, text string) entry {
	text = strings.ToValidUTF8(text, "\uFFFD") // else it cannot be sent
	return h.add(entry{level: level, at: at, text: cut(text, maxMessageBytes)})
}

func (h *history) addState(state jobpb.JobState_Enum, at time.Time) entry {
	return h.add(entry{state: state, at: at})
}

// restore adds an entry that another server had, at the position that it had
// there. Positions must rise.
func (h *history) restore(e entry) bool {
	if e.seq < h.seq || e.ord < h.ord {
		return false
	}
	h.seq, h.ord = e.seq, e.ord
	h.add(e)
	return true
}

func (h *history) add(e entry) entry {
	e.seq, e.ord = h.seq, h.ord
	h.seq++
	if !e.isState() {
		h.ord++
	}
	if h.headHasRoom(&e) {
		h.head = append(h.head, e)
		h.headBytes += e.size()
	} else {
		h.headClosed = true
		h.tail = append(h.tail, e)
		h.tailBytes += e.size()
		h.trim()
	}
	h.wakeAll()
	return e
}

// wakeAll wakes those who wait for an entry.
func (h *history) wakeAll() {
	if h.wake != nil {
		close(h.wake)
		h.wake = nil
	}
}

func (h *history) headHasRoom(e *entry) bool {
	return !h.headClosed && len(h.head) < maxHeadMessages && h.headBytes+e.size() <= maxHeadBytes
}

// trim drops the oldest messages of the tail, but for the newest of all.
func (h *history) trim() {
	for len(h.tail) > 1 && (len(h.tail) > maxTailMessages || h.tailBytes > maxTailBytes) {
		oldest := h.tail[0]
		if oldest.isState() {
			h.kept = append(h.kept, oldest)
		}
		h.tail[0] = entry{}
		h.tail = h.tail[1:]
		h.tailBytes -= oldest.size()
	}
}

// bytes is the memory that the history holds, about.
func (h *history) bytes() int { return h.headBytes + h.tailBytes }

// from returns up to n entries at or after position seq, oldest first.
func (h *history) from(seq int64, n int) []entry {
	var out []entry
	for _, part := range [][]entry{h.head, h.kept, h.tail} {
		first, _ := slices.BinarySearchFunc(part, seq, func(e entry, seq int64) int {
			return int(e.seq - seq)
		})
		room := min(n-len(out), len(part)-first)
		out = append(out, part[first:first+room]...)
	}
	return out
}

// changed returns a channel that is closed when an entry is added.
func (h *history) changed() <-chan struct{} {
	if h.wake == nil {
		h.wake = make(chan struct{})
	}
	return h.wake
}

// cut shortens text to at most limit bytes, keeping its beginning and its end:
// a traceback's last lines name the exception.
func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	note := fmt.Sprintf("\n... [%d bytes left out] ...\n", len(text)-limit)
	room := max(limit-len(note), 0)
	begin := backToRune(text, room/4)
	end := backToRune(text, len(text)-(room-begin))
	return text[:begin] + note + text[end:]
}

// backToRune returns the start of the character that holds byte i of text.
func backToRune(text string, i int) int {
	for i > 0 && i < len(text) && text[i]&0xC0 == 0x80 {
		i--
	}
	return i
}
