package fnapi

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"
)

// TestCPUTimeIsThatOfDescendantsToo, since the harness is a child of what was
// started.
func TestCPUTimeIsThatOfDescendantsToo(t *testing.T) {
	t.Parallel()
	sh, err := exec.LookPath("sh")
	named := filepath.Join(t.TempDir(), "a b) c d")
	if err = errors.Join(err, os.Symlink(sh, named)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(sh, "-c", `"$0" -c 'while :; do :; done' & wait`, named)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		took, ok := processorTime(pid)
		own, _ := processorTimeOf(pid)
		if ok && took-own >= int64(50*time.Millisecond) {
			break
		}
		if time.Now().After(deadline) {
			t.Errorf("its CPU time is %v, with its descendants %v", time.Duration(own), time.Duration(took))
			break
		}
	}
	_ = syscall.Kill(-pid, syscall.SIGKILL) // it is waited for
	_ = cmd.Wait()
	if took, ok := processorTime(pid); ok {
		t.Errorf("what is gone has taken %v", time.Duration(took))
	}
}

// TestWeAreNotOfAWorkersFamily, though the program that is one may have started
// this server.
func TestWeAreNotOfAWorkersFamily(t *testing.T) {
	t.Parallel()
	var seen []int
	_, ok := ofFamily(os.Getppid(), func(pid int) (int64, bool) {
		seen = append(seen, pid)
		return 0, true
	})
	if !ok || !slices.Contains(seen, os.Getppid()) || slices.Contains(seen, os.Getpid()) {
		t.Errorf("of %d, the child of %d: %v", os.Getpid(), os.Getppid(), seen)
	}
}
