package jobservice

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
)

// texts returns the history from seq on, a gap as "+n".
func texts(h *history, seq int64) []string {
	var out []string
	told := int64(-1)
	for {
		next := h.from(seq, 97)
		if len(next) == 0 {
			return out
		}
		for _, e := range next {
			if told >= 0 && e.ord > told {
				out = append(out, fmt.Sprint("+", e.ord-told))
			}
			if told = e.ord; !e.isState() {
				told++
			}
			out = append(out, e.text+strings.TrimPrefix(e.state.String(), "UNSPECIFIED"))
			seq = e.seq + 1
		}
	}
}

func TestHistoryKeepsFirstAndLastMessagesAndAllStates(t *testing.T) {
	t.Parallel()
	var h history
	h.addState(starting, time.Now())
	const n = 10_000
	for i := range n {
		if i == n/2 {
			h.addState(running, time.Now())
		}
		h.addMessage(Basic, time.Now(), fmt.Sprint(i))
	}
	h.addState(done, time.Now())
	got := texts(&h, 0)
	wantEqual(t, "length", len(got), maxHeadMessages+3+maxTailMessages) // a gap, RUNNING, a gap
	wantEqual(t, "begin", got[:3], []string{"STARTING", "0", "1"})
	wantEqual(t, "middle", got[maxHeadMessages:maxHeadMessages+3], []string{"+4501", "RUNNING", "+3001"})
	wantEqual(t, "end", got[len(got)-3:], []string{"9998", "9999", "DONE"})
}

func TestHistoryIsBoundedInBytes(t *testing.T) {
	t.Parallel()
	var h history
	text := strings.Repeat("x", 10<<10)
	for range 10_000 {
		h.addMessage(Basic, time.Now(), text)
	}
	h.addMessage(Error, time.Now(), strings.Repeat("y", 10<<20))
	if h.bytes() > maxHeadBytes+maxTailBytes {
		t.Errorf("%d bytes are kept", h.bytes())
	}
	got := texts(&h, 0)
	if last := got[len(got)-1]; len(last) != maxMessageBytes || last[0] != 'y' {
		t.Errorf("the last message has %d bytes", len(last))
	}
}

// Whatever the limits drop, a reader sees what is kept in order and is told of
// exactly what it misses, wherever it stands.
func TestHistoryTellsEveryReaderWhatItMisses(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		var h history
		n := random.IntN(3 * (maxHeadMessages + maxTailMessages))
		for i := range n {
			if random.IntN(500) == 0 {
				h.addState(running, time.Now())
			}
			h.addMessage(Basic, time.Now(), fmt.Sprint(i))
		}
		start := random.Int64N(h.seq + 1)
		seen, first := int64(0), int64(-1)
		for _, text := range texts(&h, start) {
			var number int64
			switch _, err := fmt.Sscan(text, &number); {
			case err != nil: // a state
			case text[0] == '+':
				seen += number
			case first < 0:
				first, seen = number, number+1
			default:
				if number != seen {
					t.Fatalf("message %d where %d was due", number, seen)
				}
				seen++
			}
		}
		if start < h.seq-1 && seen != int64(n) {
			t.Fatalf("of %d messages %d are told of", n, seen)
		}
	}
}

func TestChangedWakesEveryWaiter(t *testing.T) {
	t.Parallel()
	var h history
	a, b := h.changed(), h.changed()
	h.addState(jobpb.JobState_RUNNING, time.Now())
	<-a
	<-b
	if h.changed() == a {
		t.Error("a waiter that comes later is woken at once")
	}
}

func TestCutKeepsBothEndsAndWholeCharacters(t *testing.T) {
	t.Parallel()
	text := "begin " + strings.Repeat("äöü", 1000) + " end"
	for limit := 40; limit < 200; limit++ {
		got := cut(text, limit)
		if len(got) > limit+utf8.UTFMax || !utf8.ValidString(got) || !strings.HasSuffix(got, " end") ||
			!strings.Contains(got, "bytes left out") {
			t.Fatalf("cut to %d: %q", limit, got)
		}
	}
	wantEqual(t, "a short text", cut("short", 5), "short")
}
