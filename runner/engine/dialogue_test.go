package engine

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"fresnel/internal/beam"
)

// dialogue talks to an engine in words.
type dialogue struct {
	e     *Engine
	spec  Spec
	start time.Time
	now   time.Time
	// running are the bundles in flight, oldest first.
	running []Bundle
	// commits are those of a durable job.
	commits []Commit
}

// words are the arguments of a line: bare ones and key=value.
type words struct {
	bare []string
	kv   map[string]string
}

func parseWords(line string) words {
	w := words{kv: map[string]string{}}
	for f := range strings.FieldsSeq(line) {
		if k, v, ok := strings.Cut(f, "="); ok {
			w.kv[k] = v
		} else {
			w.bare = append(w.bare, f)
		}
	}
	return w
}

func (w words) has(word string) bool { return slices.Contains(w.bare, word) }

func (w words) num(key string, def int) int {
	if v, ok := w.kv[key]; ok {
		return must(strconv.Atoi(v))
	}
	return def
}

func (w words) dur(key string) time.Duration {
	if v, ok := w.kv[key]; ok {
		return must(time.ParseDuration(v))
	}
	return 0
}

func (w words) event(key string, def beam.EventTime) beam.EventTime {
	switch v := w.kv[key]; v {
	case "":
		return def
	case "-inf":
		return beam.MinEventTime
	case "+inf":
		return beam.MaxEventTime
	default:
		return beam.EventTime(must(strconv.Atoi(v)))
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// play carries out one command and returns the answer.
func (d *dialogue) play(command string, body []string) string {
	w := parseWords(command)
	d.now = d.now.Add(w.dur("after"))
	switch w.bare[0] {
	case "spec":
		return d.make(body)
	case "show":
		return d.show()
	case "crash":
		return d.crash(CommitSeq(w.num("at", len(d.commits))))
	case "explain":
		return d.e.Explain()
	}
	ev := d.event(w, body)
	ev.Now = d.now
	return d.answer(d.e.Step(ev))
}

func (d *dialogue) event(w words, body []string) Event {
	arg := func(i int) int { return must(strconv.Atoi(w.bare[i])) }
	switch w.bare[0] {
	case "tick":
		return Event{}
	case "worker":
		return Event{WorkerUp: &WorkerUp{Pool: d.pool(w.bare[1]), Worker: arg(2)}}
	case "leaving":
		return Event{WorkerLeaving: &WorkerLeaving{Pool: d.pool(w.bare[1]), Worker: arg(2)}}
	case "lost":
		return Event{WorkerLost: &WorkerLost{Pool: d.pool(w.bare[1]), Worker: arg(2)}}
	case "done":
		return Event{BundleDone: &BundleDone{Bundle: d.ended(w.bare[1]), Outcome: d.outcome(w, body)}}
	case "fail":
		return Event{BundleFailed: &BundleFailed{Bundle: d.ended(w.bare[1]), Err: failure(w.bare[2])}}
	case "split":
		return Event{SplitDone: d.split(d.named(w.bare[1]), w, body)}
	case "emitted":
		out := d.outcome(w, body)
		return Event{BundleEmitted: &BundleEmitted{Bundle: d.named(w.bare[1]), Outputs: out.Outputs}}
	case "full":
		return Event{OutputFull: &OutputFull{Bundle: d.named(w.bare[1])}}
	case "written":
		stage, shard := d.place(w.bare[1])
		return Event{EntryWritten: &EntryWritten{Stage: stage, Shard: shard, N: int64(arg(2))}}
	case "durable":
		seq := CommitSeq(arg(1))
		return Event{Durable: &seq}
	case "failjob":
		return Event{Fail: errors.New(strings.Join(w.bare[1:], " "))}
	case "drain":
		return Event{Drain: true}
	case "halt":
		return Event{Halt: true}
	case "cancel":
		return Event{Cancel: true}
	}
	panic("unknown command " + w.bare[0])
}

// named finds a bundle by its number, by its stage, or by its stage and a shard:
// "3", "map" or "map/1". Of several it is the oldest.
func (d *dialogue) named(name string) BundleID {
	if n, err := strconv.Atoi(name); err == nil {
		return BundleID(n)
	}
	stage, shard := name, -1
	if s, n, ok := strings.Cut(name, "/"); ok {
		stage, shard = s, must(strconv.Atoi(n))
	}
	for _, b := range d.running {
		if b.Stage != d.stage(stage) {
			continue
		}
		for _, w := range b.Work {
			if shard < 0 || w.Shard == shard {
				return b.ID
			}
		}
	}
	panic("no bundle of " + name + " is running")
}

func (d *dialogue) ended(name string) BundleID {
	id := d.named(name)
	d.forget(id)
	return id
}

func (d *dialogue) forget(id BundleID) {
	d.running = slices.DeleteFunc(d.running, func(b Bundle) bool { return b.ID == id })
}

func failure(kind string) error {
	codes := map[string]beam.Code{"user": beam.UserCode, "unavailable": beam.Unavailable, "rejected": beam.Rejected}
	return &beam.Error{Code: codes[kind], What: "oh"}
}

// make builds the engine from lines "pool", "stage", "edge" and "options".
func (d *dialogue) make(body []string) string {
	d.spec, d.start, d.running, d.commits = Spec{}, d.now, nil, nil
	for _, line := range body {
		w := parseWords(line)
		switch w.bare[0] {
		case "pool":
			d.spec.Pools = append(d.spec.Pools, PoolSpec{Name: w.bare[1], Native: w.has("native"),
				Slots: w.num("slots", 2), PerBundle: w.dur("perbundle")})
		case "stage":
			d.spec.Stages = append(d.spec.Stages, d.stageSpec(w))
		case "edge":
			d.spec.Edges = append(d.spec.Edges, d.edgeSpec(w))
		case "options":
			d.spec.Options = options(w)
		default:
			panic("unknown line " + line)
		}
	}
	e, err := New(d.spec)
	if err != nil {
		return err.Error() + "\n"
	}
	d.e = e
	return "ok\n"
}

func (d *dialogue) stageSpec(w words) StageSpec {
	role := map[string]Role{"": Process, "source": Source, "sink": Sink, "script": Script}[w.kv["role"]]
	s := StageSpec{Name: w.bare[1], Role: role, Shards: w.num("shards", 1), Outputs: w.num("outputs", 1),
		Exclusive: w.has("exclusive"), StableInput: w.has("stable"), Splittable: w.has("splittable"),
		SideInputs: w.num("sides", 0), CheckpointAfter: w.dur("checkpoint"),
		MaxEntryRows: w.num("rows", 0), MaxEntryBytes: w.num("bytes", 0)}
	if p, ok := w.kv["pool"]; ok {
		s.Pool = d.pool(p)
	}
	return s
}

// edgeSpec reads "edge a.0 b.0 keep|side|feedback".
func (d *dialogue) edgeSpec(w words) EdgeSpec {
	end := func(s string) (int, int) {
		name, n, found := strings.Cut(s, ".")
		if !found {
			return d.stage(name), 0
		}
		return d.stage(name), must(strconv.Atoi(n))
	}
	var e EdgeSpec
	e.From, e.Output = end(w.bare[1])
	e.To, e.Input = end(w.bare[2])
	e.Keep = w.has("keep")
	if w.has("side") {
		e.Kind = Side
	}
	if w.has("feedback") {
		e.Kind = Feedback
	}
	return e
}

func options(w words) Options {
	o := Options{Streaming: w.has("streaming"), TargetBundle: w.dur("target"), Backoff: w.dur("backoff"),
		UserRetries: w.num("user", 0), LostRetries: w.num("lost", 3),
		MaxBundleElements: w.num("elements", 0), MaxBundleBytes: w.num("bytes", 0), MaxBundleOutput: w.num("output", 0),
		MaxPendingBytes: int64(w.num("pending", 0)), Durable: w.has("durable")}
	return o
}

func (d *dialogue) stage(name string) int {
	for i, s := range d.spec.Stages {
		if s.Name == name {
			return i
		}
	}
	panic("no stage " + name)
}

func (d *dialogue) pool(name string) int {
	for i, p := range d.spec.Pools {
		if p.Name == name {
			return i
		}
	}
	panic("no pool " + name)
}

func (d *dialogue) place(s string) (stage, shard int) {
	name, n, _ := strings.Cut(s, "/")
	return d.stage(name), must(strconv.Atoi(n))
}

func (d *dialogue) outcome(w words, body []string) Outcome {
	o := Outcome{Elapsed: w.dur("took"), Finalize: w.has("finalize")}
	for _, line := range body {
		w := parseWords(line)
		switch w.bare[0] {
		case "out":
			o.Outputs = append(o.Outputs, Output{Edge: w.num("edge", 0), Shard: w.num("shard", 0), Block: d.block(w)})
		case "times":
			o.Shards = append(o.Shards, d.times(w))
		case "residual":
			o.Residuals = append(o.Residuals, d.part(w))
		case "progress":
			p := SourceProgress{Shard: w.num("shard", 0), Output: w.num("output", -1), Done: w.has("end"),
				Watermark: w.event("wm", beam.MinEventTime), NotBefore: d.clock(w, "rest")}
			o.Sources = append(o.Sources, p)
		case "gate":
			stage, side := d.stage(w.kv["stage"]), w.num("side", 0)
			o.NewGates = append(o.NewGates, Gate{ID: GateID(w.num("id", 0)), Stage: stage, SideInput: side,
				End: w.event("end", 0)})
		case "opened":
			o.Opened = append(o.Opened, GateID(w.num("id", 0)))
		default:
			panic("unknown line " + line)
		}
	}
	return o
}

func (d *dialogue) block(w words) Block {
	b := Block{ID: BlockID(w.num("block", 0)), Count: w.num("n", 1), MinTime: w.event("t", 0),
		NotBefore: d.clock(w, "rest")}
	b.Bytes = w.num("b", 10*b.Count)
	b.Hold = w.event("hold", b.MinTime)
	if gates, ok := w.kv["gates"]; ok {
		for g := range strings.SplitSeq(gates, ",") {
			b.Gates = append(b.Gates, GateID(must(strconv.Atoi(g))))
		}
	}
	return b
}

func (d *dialogue) times(w words) ShardTimes {
	return ShardTimes{Shard: w.num("shard", 0), NextEvent: w.event("event", NoEvent),
		NextProcessing: d.clock(w, "clock"), Hold: w.event("hold", beam.MaxEventTime)}
}

func (d *dialogue) part(w words) ShardBlocks {
	p := ShardBlocks{Shard: w.num("shard", 0)}
	if _, ok := w.kv["block"]; ok {
		p.Blocks = []InputBlock{{Input: w.num("input", 0), Block: d.block(w)}}
	}
	return p
}

// clock reads a time since the start of the job.
func (d *dialogue) clock(w words, key string) time.Time {
	if _, ok := w.kv[key]; !ok {
		return time.Time{}
	}
	return d.start.Add(w.dur(key))
}

func (d *dialogue) split(id BundleID, w words, body []string) *SplitDone {
	s := &SplitDone{Bundle: id, Accepted: !w.has("refused")}
	for _, line := range body {
		w := parseWords(line)
		if w.bare[0] == "primary" {
			s.Primary = append(s.Primary, d.part(w))
		} else {
			s.Residual = append(s.Residual, d.part(w))
		}
	}
	return s
}

// answer writes down what the engine wants.
func (d *dialogue) answer(r Ready) string {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	for _, c := range r.Commits {
		d.commits = append(d.commits, c)
		say("commit %d: %s", c.Seq, d.commit(c))
	}
	d.running = append(d.running, r.Start...)
	for _, s := range r.Start {
		say("start %s", d.bundle(s))
	}
	for _, s := range r.Splits {
		say("split %s, keep %v", number(s.Bundle), s.Fraction)
	}
	for _, id := range r.Abandon {
		say("abandon %s", number(id))
		d.forget(id)
	}
	for _, en := range r.Entries {
		say("write %s#%d: %s, after commit %d", d.at(en.Stage, en.Shard), en.N, ids(en.Blocks), en.After)
	}
	for _, f := range r.Finalize {
		say("finalize %s, after commit %d", number(f.Bundle), f.After)
	}
	for _, re := range r.Retrying {
		say("retry %s, attempt %d, at %v: %v", d.spec.Stages[re.Stage].Name, re.Attempt, re.At.Sub(d.start), re.Err)
	}
	if !r.Wake.IsZero() {
		say("wake at %v", r.Wake.Sub(d.start))
	}
	if r.Quiet {
		say("quiet")
	}
	if r.State != Running {
		say("%s", strings.TrimSpace(fmt.Sprintln(r.State, errText(r.Err))))
	}
	return b.String()
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func (d *dialogue) at(stage, shard int) string {
	return fmt.Sprintf("%s/%d", d.spec.Stages[stage].Name, shard)
}

func (d *dialogue) commit(c Commit) string {
	var s string
	switch {
	case c.Entry != nil:
		s = fmt.Sprintf("entry %s#%d", d.at(c.Entry.Stage, c.Entry.Shard), c.Entry.N)
	case c.Freed != nil:
		s = fmt.Sprintf("entry %s#%d is done", d.at(c.Freed.Stage, c.Freed.Shard), c.Freed.N)
	case c.Split != nil:
		s = fmt.Sprintf("split of bundle %s", number(c.Split.Bundle))
	case c.Drain:
		s = "drain"
	default:
		s = fmt.Sprintf("bundle %s of %s", number(c.Bundle), d.spec.Stages[c.Stage].Name)
	}
	if len(c.Consumed) > 0 {
		s += ", frees " + ids(c.Consumed)
	}
	return s
}

func ids(blocks []BlockID) string {
	var s []string
	for _, id := range blocks {
		s = append(s, "b"+strconv.Itoa(int(id)))
	}
	return strings.Join(s, " ")
}

// number is a bundle's number, with that of the incarnation after a crash.
func number(id BundleID) string {
	if life := id >> incarnationBits; life > 0 {
		return fmt.Sprintf("%d.%d", life, id-life<<incarnationBits)
	}
	return strconv.Itoa(int(id))
}

// crash loses all but the first commits, and goes on from the image that is
// left.
func (d *dialogue) crash(last CommitSeq) string {
	d.commits = d.commits[:last]
	e, r, err := Restore(d.spec, rowsOf(imageOf(d.commits)))
	if err != nil {
		return err.Error() + "\n"
	}
	d.e, d.running = e, nil
	s := fmt.Sprintf("commit %d, blocks %s", r.Commits, ids(r.Blocks))
	if len(r.Gates) > 0 {
		s += fmt.Sprintf(", gates %v", r.Gates)
	}
	for _, en := range r.Entries {
		s += fmt.Sprintf(", entry %s#%d", d.at(en.Stage, en.Shard), en.N)
	}
	if r.Draining {
		s += ", draining"
	}
	return strings.TrimSpace(s) + "\n"
}

// imageOf is the image after the commits.
func imageOf(commits []Commit) map[string][]byte {
	image := map[string][]byte{}
	for _, c := range commits {
		change(image, c.Image)
	}
	return image
}

func change(image map[string][]byte, changes []Change) {
	for _, c := range changes {
		if c.Value == nil {
			delete(image, c.Key)
		} else {
			image[c.Key] = c.Value
		}
	}
}

// rowsOf gives the rows of an image in the order of their keys.
func rowsOf(image map[string][]byte) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for _, key := range slices.Sorted(maps.Keys(image)) {
			if !yield(key, image[key]) {
				return
			}
		}
	}
}

func (d *dialogue) bundle(b Bundle) string {
	st := d.spec.Stages[b.Stage]
	s := fmt.Sprintf("%s: %s on %s:%d, wm %s", number(b.ID), st.Name, d.spec.Pools[st.Pool].Name, b.Worker, short(b.Watermark))
	if b.Attempt > 0 {
		s += fmt.Sprintf(", attempt %d", b.Attempt)
	}
	if b.Drain {
		s += ", drain"
	}
	for _, w := range b.Work {
		s += ", " + work(w)
	}
	return s
}

func work(w ShardWork) string {
	var parts []string
	for _, in := range w.Blocks {
		p := "b" + strconv.Itoa(int(in.Block.ID))
		if in.Input != 0 {
			p += "@" + strconv.Itoa(in.Input)
		}
		parts = append(parts, p)
	}
	if w.EventDue {
		parts = append(parts, "event timers")
	}
	if w.ProcessingDue {
		parts = append(parts, "processing timers")
	}
	if len(parts) == 0 {
		return fmt.Sprintf("shard %d", w.Shard)
	}
	return fmt.Sprintf("shard %d: %s", w.Shard, strings.Join(parts, " "))
}

func short(t beam.EventTime) string {
	switch t {
	case beam.MinEventTime, beam.MaxEventTime, beam.EndOfGlobalWindow:
		return t.String()
	}
	return strconv.Itoa(int(t))
}

// show prints the snapshot.
func (d *dialogue) show() string {
	var b strings.Builder
	s := d.e.Snapshot()
	for _, st := range s.Stages {
		var outs []string
		for _, o := range st.Outputs {
			outs = append(outs, short(o))
		}
		fmt.Fprintf(&b, "%s: in %s, out %s", st.Name, short(st.Input), strings.Join(outs, ","))
		for _, f := range []struct {
			n    int
			what string
		}{{st.Elements, "queued"}, {st.Apart, "apart"}, {st.Running, "running"}, {st.Retrying, "retrying"},
			{st.Entries, "entries"}, {st.Reading, "reading"}} {
			if f.n > 0 {
				fmt.Fprintf(&b, ", %d %s", f.n, f.what)
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}
