package crash_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"fresnel/integration/cdn/rig"
	"fresnel/integration/parts"
)

// site is what is killed.
type site struct {
	t      *testing.T
	kafka  *parts.Kafka
	db     *parts.MariaDB
	server *rig.Server
	rand   *rand.Rand
	// old are servers that another goes on for, and that do not know it.
	old []*rig.Process
}

func newSite(t *testing.T, seed uint64) *site {
	t.Helper()
	s := &site{t: t, rand: rand.New(rand.NewPCG(seed, 11))}
	var wait sync.WaitGroup
	wait.Go(func() { s.kafka = parts.StartKafka(t, "log.message.timestamp.after.max.ms=9223372036854775807") })
	wait.Go(func() { s.db = parts.StartMariaDB(t) })
	wait.Go(s.startServer)
	wait.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return s
}

func (s *site) startServer() {
	binary, err := rig.Build(s.t.Context(), s.t.TempDir())
	if err != nil {
		s.t.Error(err)
		return
	}
	s.server, err = rig.StartServer(binary, filepath.Join(s.t.ArtifactDir(), "fresnel.log"))
	if err != nil {
		s.t.Error(err)
		return
	}
	s.t.Cleanup(func() {
		s.server.Stop()
		if s.t.Failed() {
			s.t.Log(tail(s.server.Output()))
		}
	})
}

// submit runs a Python program.
func (s *site) submit(name string, args ...string) *rig.Client {
	s.t.Helper()
	client, err := s.server.Submit(filepath.Join(s.t.ArtifactDir(), name+".log"), "PROCESS", args...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		client.Kill()
		if s.t.Failed() {
			s.t.Log(tail(client.Output()))
		}
	})
	return client
}

// kill kills something and, if need be, starts it again, and tells what.
func (s *site) kill(victim string) string {
	s.t.Helper()
	var err error
	switch victim {
	case "fresnel":
		s.server.Kill()
		time.Sleep(time.Duration(s.rand.IntN(300)) * time.Millisecond)
		err = s.server.Restart()
	case "a paused fresnel":
		err = s.supersede()
	case "a harness":
		if workers := s.server.Workers(); len(workers) > 0 {
			_ = syscall.Kill(workers[s.rand.IntN(len(workers))], syscall.SIGKILL) // or it has just ended
		}
	case "the broker":
		s.kafka.Kill()
		err = s.kafka.Restart()
	case "the database":
		s.db.Kill()
		err = s.db.Restart()
	}
	if err != nil {
		s.t.Fatalf("%s did not start again: %v", victim, err)
	}
	return victim
}

// supersede has another server go on for one that only slept.
func (s *site) supersede() error {
	old, err := s.server.Supersede()
	s.t.Cleanup(old.Kill)
	if err != nil {
		return err
	}
	s.awaitLines(s.server.Process, "the new owner", "a job owns its sink")
	time.Sleep(time.Duration(s.rand.IntN(2000)) * time.Millisecond)
	old.Continue()
	s.old = append(s.old, old)
	return nil
}

// awaitFenced returns when all owners of before have learnt that they are: neither
// end of theirs takes anything from them.
func (s *site) awaitFenced() {
	s.t.Helper()
	for _, old := range s.old {
		s.awaitLines(old, "an old owner", "belongs to a newer owner")
		old.Kill()
	}
	s.old = nil
}

var jobOfLine = regexp.MustCompile(`\bjob=\S+`)

// awaitLines returns when a server's log has a line with a text for each of the two
// jobs.
func (s *site) awaitLines(p *rig.Process, who, text string) {
	s.t.Helper()
	for deadline := time.Now().Add(catchUp); ; time.Sleep(50 * time.Millisecond) {
		jobs := map[string]bool{}
		for line := range strings.Lines(p.Output()) {
			if m := jobOfLine.FindString(line); m != "" && strings.Contains(line, text) {
				jobs[m] = true
			}
		}
		if len(jobs) == 2 {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%s: %d jobs of 2 have said %q after %v:\n%s", who, len(jobs), text, catchUp, tail(p.Output()))
		}
	}
}

// victim is Fresnel half of the times, and, of n victims, each tenth time one that
// was paused.
func (s *site) victim(n int) string {
	if n%10 == 7 {
		return "a paused fresnel"
	}
	switch s.rand.IntN(6) {
	case 0:
		return "a harness"
	case 1:
		return "the broker"
	case 2:
		return "the database"
	}
	return "fresnel"
}

// setting is a number from the environment.
func setting(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(fmt.Errorf("%s: %w", name, err))
	}
	return n
}

func tail(s string) string {
	const most = 8 << 10
	return s[max(0, len(s)-most):]
}
