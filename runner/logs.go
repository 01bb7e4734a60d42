package runner

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"time"

	"fresnel/fnapi"
	"fresnel/internal/beam"
	"fresnel/jobservice"
)

const (
	// warnSeverity is LogEntry.Severity.WARN (beam_fn_api.proto).
	warnSeverity = 5
	// foldAfter is how many times a warning or an error is told that comes again
	// and again, foldEvery the time that this is counted for, and after which the
	// rest is told as a number.
	foldAfter = 3
	foldEvery = 10 * time.Second
	// maxFolds bounds how many different ones are looked out for (I7).
	maxFolds = 1000
)

// harnessLog passes log lines of harnesses on to the client, and to the server's
// log. Lines below a warning all go on: they are also what users print. Of
// warnings and errors that come many times over, from every element or every
// worker, the first few do.
type harnessLog struct {
	tell  func(level jobservice.Level, at time.Time, text string)
	log   *slog.Logger
	names map[beam.TransformID]string
	// conceal is nil if there are no passwords among the pipeline's options: a
	// worker prints all options when it starts.
	conceal *strings.Replacer

	mu    sync.Mutex
	folds map[foldKey]*fold
}

// foldKey is what lines have in common that are the same to a reader.
type foldKey struct {
	severity  int
	transform beam.TransformID
	message   string
}

type fold struct {
	seen  int
	last  fnapi.LogEntry
	timer *time.Timer
}

func newHarnessLog(j *job) *harnessLog {
	l := &harnessLog{tell: j.report.Message, log: j.runner.cfg.Log.With("job", string(j.sub.ID)),
		names: map[beam.TransformID]string{}, folds: map[foldKey]*fold{},
		conceal: jobservice.ParseOptions(j.sub.Options).Conceal()}
	for _, s := range j.plan.Stages {
		maps.Copy(l.names, s.Transforms)
	}
	return l
}

// add takes a line.
func (l *harnessLog) add(e fnapi.LogEntry) {
	if e.At.IsZero() {
		e.At = time.Now()
	}
	e.Message, e.Trace = l.clean(e.Message), l.clean(e.Trace)
	if e.Severity < warnSeverity || l.first(e) {
		l.pass(e)
	}
}

// say passes on what the job itself has to say: to the client, and to who keeps the
// server.
func (l *harnessLog) say(level jobservice.Level, at time.Time, text string) {
	text = l.clean(text)
	l.tell(level, at, text)
	logged := slog.LevelInfo
	if level >= jobservice.Warning {
		logged = slog.LevelWarn
	}
	l.log.Log(context.Background(), logged, text)
}

// clean takes the passwords of the pipeline's options out of a text.
func (l *harnessLog) clean(text string) string {
	if l.conceal == nil {
		return text
	}
	return l.conceal.Replace(text)
}

func (l *harnessLog) pass(e fnapi.LogEntry) {
	l.tell(level(e.Severity), e.At, l.text(e))
	l.log.LogAttrs(context.Background(), slogLevel(e.Severity), e.Message, slog.String("from", "harness"), slog.Int("severity", e.Severity),
		slog.String("worker", e.Worker), slog.String("step", l.step(e)), slog.String("at", e.Location), slog.String("trace", e.Trace))
}

// slogLevel keeps what harnesses say below what the server itself has to say:
// the client is told of it in any case.
func slogLevel(severity int) slog.Level {
	if severity >= 3 { // INFO and above
		return slog.LevelInfo
	}
	return slog.LevelDebug
}

// first tells whether the line is one of the first of its kind, and else counts
// it.
func (l *harnessLog) first(e fnapi.LogEntry) bool {
	key := foldKey{e.Severity, e.Transform, e.Message}
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.folds[key]
	if f == nil {
		if len(l.folds) >= maxFolds {
			return true
		}
		f = &fold{}
		f.timer = time.AfterFunc(foldEvery, func() { l.flush(key) })
		l.folds[key] = f
	}
	f.seen++
	f.last = e
	return f.seen <= foldAfter
}

// flush tells how many lines of a kind were not told.
func (l *harnessLog) flush(key foldKey) {
	l.mu.Lock()
	f := l.folds[key]
	delete(l.folds, key)
	l.mu.Unlock()
	if f == nil || f.seen <= foldAfter {
		return
	}
	e := f.last
	e.Message, e.Trace = fmt.Sprintf("%d more like this within %s: %s", f.seen-foldAfter, foldEvery, firstLine(e.Message)), ""
	l.pass(e)
}

// close tells what was held back.
func (l *harnessLog) close() {
	l.mu.Lock()
	keys := make([]foldKey, 0, len(l.folds))
	for key, f := range l.folds {
		f.timer.Stop()
		keys = append(keys, key)
	}
	l.mu.Unlock()
	for _, key := range keys {
		l.flush(key)
	}
}

// step is the user's name of the transform that a line is from.
func (l *harnessLog) step(e fnapi.LogEntry) string {
	if name, ok := l.names[e.Transform]; ok {
		return name
	}
	return string(e.Transform)
}

// text writes a line as a job message, with the step and the worker that it is
// from.
func (l *harnessLog) text(e fnapi.LogEntry) string {
	var b strings.Builder
	b.WriteString(e.Message)
	if from := strings.Trim(l.step(e)+", "+e.Worker, ", "); from != "" {
		b.WriteString(" [" + from + "]")
	}
	if e.Trace != "" && !strings.Contains(e.Message, e.Trace) {
		b.WriteString("\n" + e.Trace)
	}
	return b.String()
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}
