package crash_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"

	"fresnel/integration/cdn/rig"
	"fresnel/integration/parts"
)

const (
	keys       = 7
	partitions = 3
	// A burst of a key's records is a session: then there is a gap in event time.
	burst = 5
)

// future is when event time begins: later than any clock, so that a partition
// without records does not move the watermark on by itself.
var future = time.Date(2060, 1, 1, 0, 0, 0, 0, time.UTC)

// statefulJob is testdata/stateful.py with what it must tell.
type statefulJob struct {
	client *rig.Client
	sent   int // records of each key
	// seen has the lines of the output up to next, by partition, with those of
	// transactions that were aborted: this client shows them.
	seen map[string]bool
	next []int64
}

func (s *site) startStateful() *statefulJob {
	t := s.t
	t.Helper()
	s.kafka.CreateTopic(t, "in", partitions)
	s.kafka.CreateTopic(t, "out", partitions)
	j := &statefulJob{seen: map[string]bool{}, next: make([]int64, partitions)}
	j.client = s.submit("stateful", "testdata/stateful.py", "--bootstrap_servers="+s.kafka.Addr(),
		"--topic=in", "--out=out", "--sdk_worker_parallelism=1")
	return j
}

// produce sends records of every key, each key to one partition, in order.
func (j *statefulJob) produce(s *site) {
	s.t.Helper()
	w := &kafka.Writer{Addr: kafka.TCP(s.kafka.Addr()), Topic: "in", RequiredAcks: kafka.RequireAll,
		BatchTimeout: 5 * time.Millisecond, Balancer: kafka.BalancerFunc(func(m kafka.Message, ps ...int) int {
			return ps[int(m.Key[0]-'0')%len(ps)]
		})}
	var all []kafka.Message
	for range recordsAtOnce / keys {
		for k := range keys {
			all = append(all, kafka.Message{Key: []byte(strconv.Itoa(k)), Value: fmt.Appendf(nil, "%d,%d", k, j.sent),
				Time: future.Add(time.Duration(j.sent)*100*time.Millisecond + time.Duration(j.sent/burst)*5*time.Second)})
		}
		j.sent++
	}
	if err := errors.Join(w.WriteMessages(s.t.Context(), all...), w.Close()); err != nil {
		s.t.Fatal(err)
	}
}

// follow takes in what is new in the output.
func (j *statefulJob) follow(s *site) {
	s.t.Helper()
	for p := range partitions {
		ctx, cancel := context.WithTimeout(s.t.Context(), 2*time.Second)
		r := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{s.kafka.Addr()}, Topic: "out", Partition: p, MaxWait: 200 * time.Millisecond})
		_ = r.SetOffset(j.next[p]) // of a reader without a group
		for {
			m, err := r.ReadMessage(ctx)
			if err != nil {
				break
			}
			j.next[p] = m.Offset + 1
			j.seen[string(m.Value)] = true
		}
		_ = r.Close() // nothing was written
		cancel()
	}
}

// awaitCounts returns when every record was counted.
func (j *statefulJob) awaitCounts(s *site) {
	s.t.Helper()
	for deadline := time.Now().Add(catchUp); ; {
		j.follow(s)
		missing := 0
		for line := range j.counts() {
			if !j.seen[line] {
				missing++
			}
		}
		if missing == 0 {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%d of %d records were not counted after %v", missing, keys*j.sent, catchUp)
		}
	}
}

func (j *statefulJob) counts() map[string]bool {
	want := map[string]bool{}
	for k := range keys {
		for n := range j.sent {
			want[fmt.Sprintf("count,%d,%d", k, n+1)] = true
		}
	}
	return want
}

func (j *statefulJob) sessions() map[string]bool {
	want := map[string]bool{}
	for k := range keys {
		for n := 0; n < j.sent; n += burst {
			var numbers []string
			for i := n; i < min(n+burst, j.sent); i++ {
				numbers = append(numbers, strconv.Itoa(i))
			}
			want[fmt.Sprintf("session,%d,%s", k, strings.Join(numbers, " "))] = true
		}
	}
	return want
}

// committed reads the output with Kafka's own consumer, which shows what is
// committed, and returns how often each line is there.
func (j *statefulJob) committed(s *site) map[string]int {
	s.t.Helper()
	program := filepath.Join("..", "..", "connectors", "kafka", "testdata", "ReadCommitted.java")
	cmd := exec.CommandContext(s.t.Context(), "java", append(parts.KafkaJava(), program, s.kafka.Addr(), "out")...)
	var problem strings.Builder
	cmd.Stderr = &problem
	out, err := cmd.Output()
	if strings.Contains(problem.String(), "jdk.compiler") {
		s.t.Skip("java without a compiler")
	}
	if err != nil {
		s.t.Fatal(err, problem.String())
	}
	lines := map[string]int{}
	for line := range strings.Lines(string(out)) {
		lines[strings.TrimSuffix(line, "\n")]++
	}
	return lines
}

// check compares everything that was told.
func (j *statefulJob) check(s *site) {
	s.t.Helper()
	output := j.committed(s)
	want := j.counts()
	maps.Copy(want, j.sessions())
	batched := map[string][]int{}
	for _, line := range slices.Sorted(maps.Keys(output)) {
		if n := output[line]; n != 1 {
			s.t.Errorf("%d times: %s", n, line)
		}
		kind, rest, _ := strings.Cut(line, ",")
		if kind == "batch" {
			key, numbers, _ := strings.Cut(rest, ",")
			for text := range strings.FieldsSeq(numbers) {
				n, err := strconv.Atoi(text)
				if err != nil {
					s.t.Error(err)
				}
				batched[key] = append(batched[key], n)
			}
			continue
		}
		if !want[line] {
			s.t.Errorf("not expected: %s", line)
		}
		delete(want, line)
	}
	for line := range want {
		s.t.Errorf("missing: %s", line)
	}
	for k := range keys {
		j.checkBatches(s, k, batched[strconv.Itoa(k)])
	}
}

// checkBatches: every number is in one batch.
func (j *statefulJob) checkBatches(s *site, key int, numbers []int) {
	s.t.Helper()
	slices.Sort(numbers)
	for i := range j.sent {
		if i >= len(numbers) || numbers[i] != i {
			s.t.Errorf("key %d: the batches have %d numbers of %d, and not each once", key, len(numbers), j.sent)
			return
		}
	}
	if len(numbers) != j.sent {
		s.t.Errorf("key %d: %d numbers in batches, %d were sent", key, len(numbers), j.sent)
	}
}
