package scratch

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestMain lets the test binary be a process that makes a directory, prints its
// name, and waits.
func TestMain(m *testing.M) {
	if kind := os.Getenv("SCRATCH_KIND"); kind != "" {
		dir, _, err := Dir(kind)
		if err != nil {
			dir = err.Error()
		}
		_, _ = os.Stdout.WriteString(dir)
		_ = os.Stdout.Close()
		select {}
	}
	os.Exit(m.Run())
}

// another starts a process that has a directory of the kind.
func another(t *testing.T, kind string) (dir string, kill func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "SCRATCH_KIND="+kind)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	kill = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	}
	t.Cleanup(kill)
	name := make([]byte, 4096)
	n, _ := out.Read(name)
	if dir = string(name[:n]); !exists(dir) {
		t.Fatalf("no directory: %s", dir)
	}
	return dir, kill
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// age has a directory look as if nothing had happened in it for an hour.
func age(t *testing.T, dir string) {
	t.Helper()
	past := time.Now().Add(-time.Hour)
	if err := os.Chtimes(dir, past, past); err != nil {
		t.Fatal(err)
	}
}

func TestWhatAKilledProcessLeftIsRemoved(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	killed, kill := another(t, "test-a-")
	living, _ := another(t, "test-a-")
	if err := os.MkdirAll(filepath.Join(killed, "staged", "deep"), 0o700); err != nil {
		t.Fatal(err)
	}
	kill()
	for _, dir := range []string{killed, living} {
		age(t, dir)
	}
	_, remove, err := Dir("test-b-")
	if err != nil {
		t.Fatal(err)
	}
	remove()
	if !exists(killed) {
		t.Error("another kind's is gone")
	}
	dir, remove, err := Dir("test-a-")
	if err != nil {
		t.Fatal(err)
	}
	if exists(killed) || !exists(living) || !exists(dir) {
		t.Errorf("the killed one's is there: %v, the living one's: %v, the new one: %v", exists(killed), exists(living), exists(dir))
	}
	if remove(); exists(dir) {
		t.Error("it is not removed")
	}
}

func TestWhatMayBeSomebodysStays(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	fresh, kill := another(t, "test-")
	kill() // a moment ago
	plain, elsewhere, linked := filepath.Join(temp, "test-plain"), filepath.Join(temp, "else"), filepath.Join(temp, "test-linked")
	for _, dir := range []string{plain, elsewhere, linked} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, link := range [][2]string{{filepath.Join(fresh, lockName), filepath.Join(linked, lockName)}, {elsewhere, filepath.Join(temp, "test-link")}} {
		if err := os.Symlink(link[0], link[1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(elsewhere, lockName), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{plain, elsewhere, linked} {
		age(t, dir)
	}
	_, remove, err := Dir("test-")
	if err != nil {
		t.Fatal(err)
	}
	defer remove()
	for what, dir := range map[string]string{"one that has just been made": fresh, "one without a lock": plain, "what a link names": elsewhere,
		"one with a link for a lock": linked} {
		if !exists(dir) {
			t.Errorf("%s is gone", what)
		}
	}
}
