package runner

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	"fresnel/fnapi"
	"fresnel/internal/beam"
	"fresnel/jobservice"
)

// told collects what a client and the server's log are told.
type told struct {
	*harnessLog
	client []string
	server bytes.Buffer
}

func newTold() *told {
	t := &told{}
	t.harnessLog = &harnessLog{
		tell: func(l jobservice.Level, _ time.Time, text string) {
			t.client = append(t.client, fmt.Sprint(l, " ", text))
		},
		log:   slog.New(slog.NewTextHandler(&t.server, nil)),
		names: map[beam.TransformID]string{"ref_7": "Parse/Line"}, folds: map[foldKey]*fold{},
	}
	return t
}

// TestALogLineHasNoPasswords of the pipeline's options.
func TestALogLineHasNoPasswords(t *testing.T) {
	t.Parallel()
	given, err := structpb.NewStruct(map[string]any{"beam:option:db_password:v1": "s3cret"})
	if err != nil {
		t.Fatal(err)
	}
	l := newTold()
	l.conceal = jobservice.ParseOptions(given).Conceal()
	l.add(fnapi.LogEntry{Severity: 5, Message: "Discarding unparseable args: ['--db_password=s3cret']", Trace: "at connect('s3cret')"})
	if shown := strings.Join(l.client, "|") + l.server.String(); strings.Contains(shown, "s3cret") || !strings.Contains(shown, "--db_password=***") {
		t.Errorf("it shows %s", shown)
	}
}

// TestWhatAJobSaysIsInTheServersLogToo: a full disk, a database that is away.
func TestWhatAJobSaysIsInTheServersLogToo(t *testing.T) {
	t.Parallel()
	l := newTold()
	l.conceal = strings.NewReplacer("s3cret", "***")
	j := &job{logs: l.harnessLog}
	j.warn("the disk is full, s3cret")
	if got, want := strings.Join(l.client, "|"), "3 the disk is full, ***"; got != want {
		t.Errorf("the client is told %q, want %q", got, want)
	}
	if got, want := l.server.String(), `level=WARN msg="the disk is full, ***"`; !strings.Contains(got, want) {
		t.Errorf("the server's log has %q, want %q", got, want)
	}
}

func TestALogLineNamesStepAndWorkerAndHasTheWholeTrace(t *testing.T) {
	t.Parallel()
	l := newTold()
	l.add(fnapi.LogEntry{Severity: 6, Message: "it broke", Transform: "ref_7", Worker: "worker-1", Trace: "Traceback\n  line 1\nValueError"})
	if got, want := strings.Join(l.client, "|"), "4 it broke [Parse/Line, worker-1]\nTraceback\n  line 1\nValueError"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, want := range []string{"it broke", "worker=worker-1", "step=Parse/Line", "ValueError"} {
		if !strings.Contains(l.server.String(), want) {
			t.Errorf("the server's log lacks %q: %s", want, l.server.String())
		}
	}
}

func TestWarningsThatComeAgainAndAgainAreFoldedWithACount(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newTold()
		for range 100 {
			l.add(fnapi.LogEntry{Severity: warnSeverity, Message: "deprecated"})
		}
		time.Sleep(foldEvery)
		synctest.Wait()
		if got := len(l.client); got != foldAfter+1 || !strings.Contains(l.client[foldAfter], "97 more like this") {
			t.Errorf("told %d times: %q", got, l.client)
		}
		l.add(fnapi.LogEntry{Severity: warnSeverity, Message: "deprecated"})
		if got := len(l.client); got != foldAfter+2 {
			t.Error("what comes later is not told any more")
		}
		l.close()
	})
}

func TestWhatUsersPrintIsNotFoldedAndNothingIsLostAtTheEnd(t *testing.T) {
	t.Parallel()
	l := newTold()
	for range 100 {
		l.add(fnapi.LogEntry{Severity: 3, Message: "printed"})
	}
	if len(l.client) != 100 {
		t.Errorf("%d of 100 prints were told", len(l.client))
	}
	for n := range 10 {
		l.add(fnapi.LogEntry{Severity: 6, Message: fmt.Sprint("error ", n%2)})
	}
	l.close()
	if got := strings.Join(l.client[100:], "|"); strings.Count(got, "2 more like this") != 2 {
		t.Error(got)
	}
}
