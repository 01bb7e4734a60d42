package runner

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/types/known/structpb"

	"fresnel/connectors"
	"fresnel/fnapi"
	"fresnel/fnapi/fnapitest"
	"fresnel/internal/beam"
	"fresnel/internal/coder"
	"fresnel/jobservice"
)

// rig runs whole jobs: pipelines by hand, harnesses by script, connectors that
// are made up. What a harness does for a transform is in do, by its id.
type rig struct {
	t  *testing.T
	do map[string]do
	// rest is for other stages; they pass on what they get if it is nil.
	rest    do
	sources map[string]*fakeSource
	sinks   map[string]*fakeSink
	pool    *fnapitest.Pool
	runner  *Runner
	// options are the pipeline's; submitted may change the submission.
	options   map[string]any
	submitted func(*jobservice.Submission)
	// finalized are the bundles that were.
	mu        sync.Mutex
	finalized []string
}

// do is what a harness does for a bundle of a transform's stage.
type do func(c *call) error

// patience is how long a test waits for what must happen.
const patience = 5 * time.Minute

func newRig(t *testing.T, options ...fnapitest.Option) *rig {
	t.Helper()
	t.Parallel()
	r := &rig{t: t, do: map[string]do{}, sources: map[string]*fakeSource{}, sinks: map[string]*fakeSink{}, options: map[string]any{}}
	server, err := fnapi.NewServer(fnapi.Config{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	options = append(options, fnapitest.OnFinalize(func(bundle string) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.finalized = append(r.finalized, bundle)
		return nil
	}))
	r.pool = fnapitest.StartPool(t, r.script, options...)
	r.runner = New(Config{Harnesses: server, Connectors: []connectors.Connector{fakes{r}}})
	return r
}

func (r *rig) script(b *fnapitest.Bundle) error {
	var f do
	for id := range b.Descriptor.GetTransforms() {
		if g := r.do[id]; g != nil {
			if f != nil {
				r.t.Errorf("two scripts for one stage, one of %s", id)
			}
			f = g
		}
	}
	if f != nil {
		return f(&call{Bundle: b})
	}
	if r.rest != nil {
		return r.rest(&call{Bundle: b})
	}
	return fnapitest.Echo(b)
}

// jobRun is a job that runs.
type jobRun struct {
	r       *rig
	id      beam.JobID
	cancel  context.CancelFunc
	drain   chan struct{}
	done    chan struct{}
	err     error
	left    int64 // bytes of blocks when the work was done
	started chan struct{}
	job     *job

	mu       sync.Mutex
	messages []message
	metrics  func() (attempted, committed []*pipepb.MonitoringInfo)
}

type message struct {
	level jobservice.Level
	text  string
}

func (j *jobRun) Running() {}

func (j *jobRun) Message(l jobservice.Level, _ time.Time, text string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.messages = append(j.messages, message{l, text})
}

func (j *jobRun) Metrics(read func() (attempted, committed []*pipepb.MonitoringInfo)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.metrics = read
}

// said are the messages of a level.
func (j *jobRun) said(l jobservice.Level) string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var all []string
	for _, m := range j.messages {
		if m.level == l {
			all = append(all, m.text)
		}
	}
	return strings.Join(all, "\n")
}

// awaitSaid returns when a message of the level has been told.
func (j *jobRun) awaitSaid(l jobservice.Level, text string) {
	j.r.t.Helper()
	for deadline := time.Now().Add(patience); !strings.Contains(j.said(l), text); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			j.r.t.Fatalf("told %q, and not %q", j.said(l), text)
		}
	}
}

var jobs atomic.Int64

// start starts a job.
func (r *rig) start(p pipe) *jobRun { r.t.Helper(); return r.launch(p, (*jobRun).run) }

// startWhole starts a job by Runner.Run.
func (r *rig) startWhole(p pipe) *jobRun {
	r.t.Helper()
	return r.launch(p, func(j *jobRun, ctx context.Context, s *jobservice.Submission) error {
		return r.runner.Run(ctx, s, j.drain, j)
	})
}

func (r *rig) launch(p pipe, run func(*jobRun, context.Context, *jobservice.Submission) error) *jobRun {
	r.t.Helper()
	options, err := structpb.NewStruct(map[string]any{})
	if err != nil {
		r.t.Fatal(err)
	}
	for name, v := range r.options {
		value, err := structpb.NewValue(v)
		if err != nil {
			r.t.Fatal(err)
		}
		options.Fields["beam:option:"+name+":v1"] = value
	}
	for _, env := range p.Components.Environments {
		env.Payload = r.pool.Environment().Payload
	}
	s := &jobservice.Submission{ID: beam.JobID(fmt.Sprintf("job-%d", jobs.Add(1))), Pipeline: p.Pipeline, Options: options}
	if r.submitted != nil {
		r.submitted(s)
	}
	ctx, cancel := context.WithCancel(context.Background())
	j := &jobRun{r: r, id: s.ID, cancel: cancel, drain: make(chan struct{}), done: make(chan struct{}), started: make(chan struct{})}
	go pprof.Do(ctx, pprof.Labels("job", string(s.ID)), func(ctx context.Context) {
		defer close(j.done)
		j.err = run(j, ctx, s)
	})
	r.t.Cleanup(func() {
		cancel()
		await(r.t, j.done, "end of the job")
	})
	return j
}

// run is Runner.Run with a look at the blocks before they are thrown away.
func (j *jobRun) run(ctx context.Context, s *jobservice.Submission) (err error) {
	plan, err := j.r.runner.plan(s)
	if err != nil {
		close(j.started)
		return err
	}
	j.job, err = j.r.runner.newJob(ctx, s, plan, j)
	close(j.started)
	if err != nil {
		return err
	}
	defer j.job.close()
	err = j.job.run(j.drain)
	j.left = j.job.store.BlockBytes()
	return err
}

// end waits for the end of the job. Nothing of it may be left: no goroutine,
// and, if it has done all it had to, no block (I8).
func (j *jobRun) end() error {
	t := j.r.t
	t.Helper()
	await(t, j.done, "end of the job")
	if j.err == nil && j.left != 0 {
		t.Errorf("%d bytes of blocks are left (I8)", j.left)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		left := goroutinesOf(j.id)
		if left == "" {
			return j.err
		}
		if time.Now().After(deadline) {
			t.Fatalf("goroutines of the job are left:\n%s", left)
		}
	}
}

// goroutinesOf are the goroutines that were started on behalf of a job: they
// inherit its label.
func goroutinesOf(id beam.JobID) string {
	var b bytes.Buffer
	_ = pprof.Lookup("goroutine").WriteTo(&b, 1) // a buffer takes all
	var left []string
	for g := range strings.SplitSeq(b.String(), "\n\n") {
		if strings.Contains(g, fmt.Sprintf(`"job":%q`, id)) {
			left = append(left, g)
		}
	}
	return strings.Join(left, "\n\n")
}

// over tells whether the job has ended.
func (j *jobRun) over() bool {
	select {
	case <-j.done:
		return true
	default:
		return false
	}
}

// mustEnd is end for jobs that must do all they have to.
func (j *jobRun) mustEnd() {
	j.r.t.Helper()
	if err := j.end(); err != nil {
		j.r.t.Fatalf("the job failed: %v", err)
	}
}

// wantError is end for jobs that must fail, and say why.
func (j *jobRun) wantError(code beam.Code, words ...string) {
	j.r.t.Helper()
	err := j.end()
	if err == nil {
		j.r.t.Fatalf("the job did not fail, want: %s", code)
	}
	if beam.CodeOf(err) != code {
		j.r.t.Errorf("the error is not %s: %v", code, err)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			j.r.t.Errorf("the error does not say %q: %v", w, err)
		}
	}
}

func await[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		var b bytes.Buffer
		_ = pprof.Lookup("goroutine").WriteTo(&b, 1)
		t.Fatalf("no %s within %s\n%s", what, patience, b.String())
		panic("unreachable")
	}
}

// wait waits until a condition holds.
func wait(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %s within %s", what, patience)
		}
	}
}

// call is a bundle that a script works on: of elements of KVs of strings, or of
// the coder that in gives.
type call struct {
	*fnapitest.Bundle
	in *coder.Windowed
}

// item is an element with its value decoded.
type item struct {
	coder.Element
	key, value string
	values     []string
}

var (
	groupedPairs = coder.KVOf(coder.StringUTF8, coder.IterableOf(coder.StringUTF8))
	global       = coder.NewWindowed(pairs, coder.GlobalWindow)
	sizedItems   = coder.NewWindowed(coder.KVOf(pairs, coder.Double), coder.GlobalWindow)
)

// pairsIn, groupsIn and sized are calls with other input.
func pairsIn(window *coder.Coder, f do) do {
	return func(c *call) error { c.in = coder.NewWindowed(pairs, window); return f(c) }
}

func groupsIn(window *coder.Coder, f do) do {
	return func(c *call) error { c.in = coder.NewWindowed(groupedPairs, window); return f(c) }
}

// each calls f with each element of the input.
func (c *call) each(f func(e *item) error) error {
	for chunk, ok := c.Next(); ok; chunk, ok = c.Next() {
		if chunk.Family != "" {
			continue
		}
		if err := c.eachOf(chunk.Data, f); err != nil {
			return err
		}
	}
	return nil
}

func (c *call) eachOf(data []byte, f func(e *item) error) error {
	in := c.in
	if in == nil {
		in = global
	}
	for len(data) > 0 {
		var e item
		n, err := in.Scan(data, &e.Element)
		if err != nil {
			return err
		}
		if err := e.decode(in.Value()); err != nil {
			return err
		}
		if err := f(&e); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

func (e *item) decode(c *coder.Coder) error {
	if c.Kind() != coder.KindKV {
		return nil
	}
	v, _, err := c.Decode(e.Value)
	if err != nil {
		return err
	}
	kv := v.(coder.KV)
	if inner, ok := kv.Key.(coder.KV); ok { // a sized restriction
		kv = inner
	}
	e.key, _ = kv.Key.(string)
	e.value, _ = kv.Value.(string)
	if all, ok := kv.Value.([]any); ok {
		for _, one := range all {
			e.values = append(e.values, one.(string))
		}
		slices.Sort(e.values)
	}
	return nil
}

// pair is an encoded element like e with another value.
func (e *item) pair(key, value string) []byte {
	out := e.Element
	out.Value = coder.AppendLengthPrefixed(coder.AppendLengthPrefixed(nil, []byte(key)), []byte(value))
	return coder.AppendElement(nil, &out)
}

// at is an encoded element in the global window.
func at(ts beam.EventTime, key, value string) []byte {
	e := item{Element: coder.Element{Timestamp: ts, WindowCount: 1, Pane: noFiring}}
	return e.pair(key, value)
}

// out sends elements to the only output.
func (c *call) out(elements ...[]byte) error {
	if len(elements) == 0 {
		return nil
	}
	return c.Emit(c.Sinks[0], bytes.Join(elements, nil))
}

// create makes a transform emit elements, once for each element of its input.
func create(elements ...[]byte) do {
	return func(c *call) error {
		c.ReadAll()
		return c.out(elements...)
	}
}

// mapping is a transform that makes of each element others.
func mapping(f func(e *item) [][]byte) do {
	return func(c *call) error {
		return c.each(func(e *item) error { return c.out(f(e)...) })
	}
}

// joined writes a group as one pair.
var joined = mapping(func(e *item) [][]byte { return [][]byte{e.pair(e.key, strings.Join(e.values, "+"))} })

// fakes are the connectors test:read and test:write.
type fakes struct{ r *rig }

func (fakes) URNs() []string        { return []string{"test:read", "test:write"} }
func (fakes) Reads(urn string) bool { return urn == "test:read" }
func (f fakes) Source(t connectors.Transform) (connectors.Source, error) {
	return f.r.sources[string(t.Payload)], nil
}
func (f fakes) Sink(t connectors.Transform) (connectors.Sink, error) {
	return f.r.sinks[string(t.Payload)], nil
}

// fakeSource has splits of batches. Its positions are the numbers of batches.
type fakeSource struct {
	t       *testing.T
	bounded bool
	batches [][][]byte // by split
	// more makes further batches of an unbounded source, after those above; nil
	// for a source that then waits.
	more func(split, n int) []byte
	// mark is the watermark at a position; the position if it is nil.
	mark func(at int) beam.EventTime
	// blocks is called when a read begins that only ends with its context.
	blocks func()
	// fail may fail a call: "splits", "open" or "read" of a split.
	fail func(call string, split, position int) error

	mu     sync.Mutex
	told   map[string]int
	reads  int
	closed int
}

func (r *rig) source(name string, s *fakeSource) *fakeSource {
	s.t, s.told = r.t, map[string]int{}
	if s.fail == nil {
		s.fail = func(string, int, int) error { return nil }
	}
	r.sources[name] = s
	return s
}

func (s *fakeSource) Bounded() bool { return s.bounded }

func (s *fakeSource) Splits(context.Context) ([]connectors.Split, error) {
	if err := s.fail("splits", 0, 0); err != nil {
		return nil, err
	}
	var all []connectors.Split
	for i := range s.batches {
		all = append(all, connectors.Split{ID: fmt.Sprint(i), Start: []byte("0")})
	}
	return all, nil
}

func (s *fakeSource) Open(_ context.Context, split connectors.Split, position []byte) (connectors.Reader, error) {
	r := &fakeReader{s: s, split: number(split.ID), at: number(string(position))}
	return r, s.fail("open", r.split, r.at)
}

func (s *fakeSource) Committed(_ context.Context, split connectors.Split, position []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := number(string(position)); n < s.told[split.ID] {
		s.t.Errorf("split %s was told %d after %d", split.ID, n, s.told[split.ID])
	} else {
		s.told[split.ID] = n
	}
	return nil
}

func (s *fakeSource) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed++
	return nil
}

// DescribePosition implements connectors.Describer.
func (s *fakeSource) DescribePosition(position []byte) string { return "batch " + string(position) }

func number(s string) int {
	var n int
	_, _ = fmt.Sscan(s, &n)
	return n
}

type fakeReader struct {
	s     *fakeSource
	split int
	at    int
}

func (r *fakeReader) Read(ctx context.Context, _ int, maxWait time.Duration) (connectors.Batch, error) {
	s := r.s
	s.mu.Lock()
	s.reads++
	s.mu.Unlock()
	if err := s.fail("read", r.split, r.at); err != nil {
		return connectors.Batch{}, err
	}
	if s.blocks != nil {
		s.blocks()
		<-ctx.Done()
		return connectors.Batch{}, ctx.Err()
	}
	all := s.batches[r.split]
	b := connectors.Batch{Watermark: beam.EventTime(r.at), BacklogBytes: -1, BacklogRecords: -1, MinTimestamp: beam.MaxEventTime}
	if s.mark != nil {
		b.Watermark = s.mark(r.at)
	}
	switch {
	case r.at < len(all):
		b.Elements = all[r.at]
		r.at++
	case s.bounded:
		b.Done = true
	case s.more != nil:
		if b.Elements = s.more(r.split, r.at); b.Elements == nil {
			time.Sleep(time.Millisecond) // a broker would wait for longer
		} else {
			r.at++
		}
	default:
		select {
		case <-time.After(maxWait):
		case <-ctx.Done():
		}
	}
	var el coder.Element
	for rest := b.Elements; len(rest) > 0; b.Count++ {
		n, err := global.Scan(rest, &el)
		if err != nil {
			return b, err
		}
		b.MinTimestamp = min(b.MinTimestamp, el.Timestamp)
		rest = rest[n:]
	}
	b.Position = fmt.Append(nil, r.at)
	return b, nil
}

func (r *fakeReader) Close() error { return nil }

// fakeSink keeps what is written to it.
type fakeSink struct {
	t      *testing.T
	shards int
	rows   int
	// fail may fail a write of a shard's entry, before or after it is there.
	before, after func(shard int, n int64, attempt int) error
	// gone tells that the server was cut off: what it still tries reaches nobody.
	gone func() bool
	// probe is what the server says before there is anything to write.
	probe error
	// blocks is called when a write begins that only ends with its context.
	blocks func()
	// progress: it knows its last entry.
	progress bool
	// in is the coder of its elements, in the global window if it is nil.
	in *coder.Windowed

	mu       sync.Mutex
	entries  map[int][]fakeEntry // by shard
	attempts map[string]int
	tried    map[string]string
	owners   map[int]int64 // the epoch that last opened a shard
	closed   int
	wrote    chan struct{}
}

type fakeEntry struct {
	n     int64
	items []item
}

func (r *rig) sink(name string) *fakeSink {
	never := func(int, int64, int) error { return nil }
	s := &fakeSink{t: r.t, shards: 1, rows: 1000, before: never, after: never, entries: map[int][]fakeEntry{},
		attempts: map[string]int{}, tried: map[string]string{}, owners: map[int]int64{}, wrote: make(chan struct{}, 100_000)}
	r.sinks[name] = s
	return s
}

func (s *fakeSink) Shards() int                { return s.shards }
func (s *fakeSink) MaxEntry() (rows, size int) { return s.rows, 1 << 20 }
func (s *fakeSink) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed++
	return nil
}

func (s *fakeSink) Probe(context.Context) error { return s.probe }

func (s *fakeSink) Open(_ context.Context, shard int, epoch int64) (connectors.Writer, int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owners[shard] = epoch
	last := int64(0)
	if all := s.entries[shard]; !s.progress {
		last = connectors.NoProgress
	} else if len(all) > 0 {
		last = all[len(all)-1].n
	}
	return &fakeWriter{s, shard}, last, nil
}

type fakeWriter struct {
	s     *fakeSink
	shard int
}

func (w *fakeWriter) Close() error { return nil }

// Write checks that an entry is written once, in order, and that another
// attempt has the same bytes (I13).
func (w *fakeWriter) Write(ctx context.Context, n int64, elements [][]byte) error {
	s := w.s
	if s.blocks != nil {
		s.blocks()
		<-ctx.Done()
		return ctx.Err()
	}
	if s.gone != nil && s.gone() {
		return errDown
	}
	name := fmt.Sprint(w.shard, "/", n)
	s.mu.Lock()
	s.attempts[name]++
	attempt := s.attempts[name]
	data := string(bytes.Join(elements, nil))
	if was, ok := s.tried[name]; ok && was != data {
		s.t.Errorf("entry %s has other bytes in attempt %d", name, attempt)
	}
	s.tried[name] = data
	s.mu.Unlock()
	if err := s.before(w.shard, n, attempt); err != nil {
		return err
	}
	s.put(w.shard, n, elements)
	return s.after(w.shard, n, attempt)
}

func (s *fakeSink) put(shard int, n int64, elements [][]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if last := int64(len(s.entries[shard])); n != last+1 {
		s.t.Errorf("shard %d: entry %d after %d", shard, n, last)
	}
	e := fakeEntry{n: n}
	c := &call{in: s.in}
	for _, raw := range elements {
		if err := c.eachOf(raw, func(it *item) error { e.items = append(e.items, *it); return nil }); err != nil {
			s.t.Errorf("entry %d: %v", n, err)
		}
	}
	s.entries[shard] = append(s.entries[shard], e)
	s.wrote <- struct{}{}
}

// got is what was written, "key=value", sorted.
func (s *fakeSink) got() []string {
	all := s.inOrder()
	slices.Sort(all)
	return all
}

// inOrder is what was written, shard by shard in the order of the entries.
func (s *fakeSink) inOrder() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, shard := range slices.Sorted(maps.Keys(s.entries)) {
		for _, e := range s.entries[shard] {
			for _, it := range e.items {
				all = append(all, it.key+"="+it.value)
			}
		}
	}
	return all
}

// want checks what was written.
func (s *fakeSink) want(want ...string) {
	s.t.Helper()
	slices.Sort(want)
	if got := s.got(); !slices.Equal(got, want) {
		s.t.Errorf("written: %v\nwant:    %v", brief(got), brief(want))
	}
}

func brief(all []string) string {
	if len(all) > 60 {
		return fmt.Sprint(all[:60], " and ", len(all)-60, " more")
	}
	return fmt.Sprint(all)
}

// await waits until n elements were written.
func (s *fakeSink) await(n int) {
	s.t.Helper()
	for len(s.got()) < n {
		await(s.t, s.wrote, fmt.Sprintf("%d elements at the sink", n))
	}
}

// dies breaks the harness's connections in the middle of a bundle.
func (c *call) dies() error {
	go c.Harness.Kill()
	<-c.Harness.Done()
	return fmt.Errorf("dead")
}

// same passes elements on.
var same = mapping(func(e *item) [][]byte { return [][]byte{e.Raw} })

// batches are n batches of single elements for a split, "s0=0" and so on.
func batches(split, n int) (all [][]byte, written []string) {
	for i := range n {
		k, v := fmt.Sprint("s", split), fmt.Sprint(i)
		all = append(all, at(beam.EventTime(i), k, v))
		written = append(written, k+"="+v)
	}
	return all, written
}
