package jobservice

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

// lines returns what a history tells.
func lines(h *history) []string { return texts(h, 0) }

// aLog is the content of a log, and how many bytes it had after each line.
func aLog(t *testing.T) (content []byte, ends []int, want []string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "log")
	var h history
	l := must(createLog(path, &h, true))
	add := func(e entry) {
		if err := l.append(e.encode(), e.isState()); err != nil {
			t.Fatal(err)
		}
		ends = append(ends, int(l.size))
	}
	add(h.addState(stopped, time.Unix(1, 2)))
	add(h.addState(starting, time.Unix(3, 4)))
	add(h.addMessage(Warning, time.Unix(5, 6), "grüße"))
	add(h.addState(running, time.Unix(7, 8)))
	add(h.addMessage(Error, time.Unix(-9, 10), ""))
	add(h.addMessage(Error, time.Unix(9, 10), "oh no"))
	add(h.addState(failed, time.Unix(11, 12)))
	if err := l.close(); err != nil {
		t.Fatal(err)
	}
	return must(os.ReadFile(path)), ends, lines(&h)
}

// A crash may leave any part of what was being written. What was written before
// is read, and the log goes on right behind it.
func TestALogIsReadUpToWhereItWasCutOff(t *testing.T) {
	t.Parallel()
	content, ends, want := aLog(t)
	path := filepath.Join(t.TempDir(), "log")
	for size := len(logMagic); size <= len(content); size++ {
		whole, end := 0, len(logMagic)
		for whole < len(ends) && ends[whole] <= size {
			end = ends[whole]
			whole++
		}
		for name, tail := range map[string]string{"cut": "", "zeros": "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", "garbage": strings.Repeat("\x01\x00\x00", 100) + "\x03\x01\x02\xff\xff\xff\xff\xff\xff\xff\xff\xff"} {
			if name != "cut" && size != end {
				continue
			}
			torn := append(content[:size:size], tail...)
			told, err := decodeLog(torn)
			if err != nil {
				t.Fatalf("%s after %d bytes: %v", name, size, err)
			}
			wantEqual(t, "lines", append([]string{}, lines(&told.history)...), append([]string{}, want[:whole]...))
			wantEqual(t, "size", told.size, int64(end))
			wantEqual(t, "cut off", told.cutOff, int64(len(torn)-end))

			if err := os.WriteFile(path, torn, 0o600); err != nil {
				t.Fatal(err)
			}
			l := must(reopenLog(path, told.size))
			e := told.history.addMessage(Basic, time.Now(), "on")
			if err := errors.Join(l.append(e.encode(), false), l.close()); err != nil {
				t.Fatal(err)
			}
			again := must(readLog(path))
			wantEqual(t, "lines after it went on", lines(&again.history), append(want[:whole:whole], "on"))
			wantEqual(t, "cut off then", again.cutOff, 0)
		}
	}
	told := must(decodeLog(content))
	wantEqual(t, "state", told.state, failed)
	wantEqual(t, "since", told.since.UnixNano(), time.Unix(11, 12).UnixNano())
	wantEqual(t, "last error", told.lastError, "oh no")
	wantEqual(t, "states", lines(&told.states), []string{"STOPPED", "STARTING", "RUNNING", "FAILED"})
}

func TestALogWithAnotherHeadIsRefused(t *testing.T) {
	t.Parallel()
	for _, content := range []string{"", "fresnel", "fresnel log 2\n", "something else\n"} {
		if _, err := decodeLog([]byte(content)); err == nil {
			t.Errorf("%q is read", content)
		}
	}
}

// Whatever bit of a log flips, what is read is a beginning of what was written.
func TestADamagedLogTellsNothingWrong(t *testing.T) {
	t.Parallel()
	content, _, want := aLog(t)
	for i := len(logMagic); i < len(content); i++ {
		for bit := range 8 {
			damaged := append([]byte{}, content...)
			damaged[i] ^= 1 << bit
			got := lines(&must(decodeLog(damaged)).history)
			if len(got) >= len(want) || fmt.Sprint(got) != fmt.Sprint(want[:len(got)]) {
				t.Fatalf("byte %d, bit %d: %q", i, bit, got)
			}
		}
	}
}

// brokenFile fails some writes, after part of them.
type brokenFile struct {
	logFile
	random *rand.Rand
}

var errDisk = errors.New("no space left on device")

func (f brokenFile) WriteAt(p []byte, at int64) (int, error) {
	if f.random.IntN(3) == 0 {
		n, _ := f.logFile.WriteAt(p[:f.random.IntN(len(p))], at)
		return n, errDisk
	}
	return f.logFile.WriteAt(p, at)
}

func (f brokenFile) Truncate(size int64) error {
	if f.random.IntN(5) == 0 {
		return errDisk
	}
	return f.logFile.Truncate(size)
}

func (f brokenFile) Sync() error {
	if f.random.IntN(5) == 0 {
		return errDisk
	}
	return nil
}

// What a disk refused is missing, and a reader is told how much; all else is
// there.
func TestALogOutlivesADiskThatFailsNowAndThen(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		path := filepath.Join(t.TempDir(), "log")
		var all, kept history
		l := must(createLog(path, &all, false))
		l.file = brokenFile{logFile: l.file, random: rand.New(rand.NewPCG(seed, 1))}
		for i := range 100 {
			e := all.addMessage(Basic, time.Now(), fmt.Sprint(i))
			if i%10 == 0 {
				e = all.addState(running, time.Now())
			}
			if l.append(e.encode(), e.isState()) == nil {
				kept.restore(e)
			}
		}
		got := must(readLog(path))
		if last := kept.from(kept.seq-1, 1); len(last) == 1 {
			// The last append may have failed after it wrote all.
			got.history = upTo(&got.history, last[0].seq)
		}
		wantEqual(t, "lines", lines(&got.history), lines(&kept))
	}
}

func upTo(h *history, seq int64) history {
	var out history
	for _, e := range h.from(0, 1<<30) {
		if e.seq <= seq {
			out.restore(e)
		}
	}
	return out
}

func TestALogStaysBounded(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	var h history
	l := must(createLog(path, &h, false))
	text := strings.Repeat("x", 10<<10)
	largest := int64(0)
	for i := range 5000 {
		e := h.addMessage(Basic, time.Now(), fmt.Sprint(i, text))
		if err := errors.Join(l.append(e.encode(), false), l.compact(&h, false)); err != nil {
			t.Fatal(err)
		}
		largest = max(largest, must(os.Stat(path)).Size())
	}
	if largest > maxLogBytes+20<<10 || largest < maxLogBytes/2 {
		t.Errorf("the log grew to %d bytes", largest)
	}
	got := must(readLog(path)).history
	wantEqual(t, "what another server shows", len(lines(&got)), len(lines(&h)))
	wantEqual(t, "lines", fmt.Sprint(lines(&got)) == fmt.Sprint(lines(&h)), true)
}

// The next server keeps what this one kept, gaps included.
func TestARestoredHistoryIsTheSame(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for range 30 {
		var h history
		for i := range random.IntN(3 * (maxHeadMessages + maxTailMessages)) {
			if random.IntN(500) == 0 {
				h.addState(running, time.Now())
			}
			h.addMessage(Basic, time.Now(), fmt.Sprint(i))
		}
		got := must(decodeLog(encodeLog(&h))).history
		wantEqual(t, "lines", fmt.Sprint(lines(&got)) == fmt.Sprint(lines(&h)), true)
		wantEqual(t, "next position", [2]int64{got.seq, got.ord}, [2]int64{h.seq, h.ord})
	}
}

func TestMetricsTooLargeForAClientAreNotKept(t *testing.T) {
	t.Parallel()
	large := &jobpb.MetricResults{Attempted: []*pipepb.MonitoringInfo{{Payload: make([]byte, maxKeptMetrics)}}}
	if encodeMetrics(large) != nil || encodeMetrics(nil) != nil {
		t.Error("they are")
	}
}

func FuzzLog(f *testing.F) {
	var h history
	h.addState(stopped, time.Unix(1, 0))
	h.addMessage(Basic, time.Unix(2, 0), "hello")
	f.Add(encodeLog(&h))
	f.Fuzz(func(t *testing.T, content []byte) {
		told, err := decodeLog(append([]byte(logMagic), frames(content)...))
		if err != nil {
			t.Fatal(err)
		}
		lines(&told.history)
		if told.size+told.cutOff < int64(len(logMagic)) {
			t.Error("bytes are missing")
		}
	})
}

// frames makes frames of bytes that a fuzzer made, each under a length.
func frames(b []byte) []byte {
	var out []byte
	for len(b) > 1 {
		n := min(int(b[0]), len(b)-1)
		out = appendFrame(out, b[1:1+n])
		b = b[1+n:]
	}
	return out
}
