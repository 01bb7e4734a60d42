package run_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestAProgramEndsWithItsRun, if that is killed: nobody is left who would end it.
func TestAProgramEndsWithItsRun(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), fresnel(t), "run", "--python="+python(t), "testdata/sleeps.py")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	pid := 0
	for lines := bufio.NewScanner(out); pid == 0 && lines.Scan(); {
		if word, ok := strings.CutPrefix(lines.Text(), "process "); ok {
			pid, _ = strconv.Atoi(word)
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // it was killed
	if pid == 0 {
		t.Fatal("the program does not run")
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(stat), ") Z ") { // nobody may wait for it
			return
		}
		if time.Now().After(deadline) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			t.Fatal("the program runs on")
		}
	}
}
