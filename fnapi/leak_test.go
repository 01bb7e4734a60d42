package fnapi_test

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"fresnel/fnapi"
	"fresnel/fnapi/fnapitest"
)

// TestNothingIsLeftBehind runs in a process of its own, since goroutines have
// no owner: a server that was used in every way, and closed, leaves none.
func TestNothingIsLeftBehind(t *testing.T) {
	if os.Getenv("FRESNEL_LEAKS") == "" {
		t.Parallel()
		cmd := exec.Command(os.Args[0], "-test.run", "^TestNothingIsLeftBehind$")
		cmd.Env = append(os.Environ(), "FRESNEL_LEAKS=look")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	before := goroutines()
	t.Run("use", useEverything)
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		left := goroutines()
		if len(left) <= len(before) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines before, %d after:\n%s", len(before), len(left), strings.Join(left, "\n\n"))
		}
	}
}

func goroutines() []string {
	buf := make([]byte, 1<<20)
	return strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n")
}

func useEverything(t *testing.T) {
	r := newRig(t, fnapi.Config{})
	state := &cells{}
	script := func(b *fnapitest.Bundle) error {
		if len(b.Sources) > 0 && strings.HasPrefix(b.Descriptor.GetId(), "stage") {
			if err := b.Append(bag("s", "k"), []byte("x")); err != nil {
				return err
			}
		}
		return fnapitest.Echo(b)
	}
	service := fnapitest.StartPool(t, script)
	env := fnapi.Environment{Env: service.Environment("beam:protocol:named_data_streams:v1"), Parallelism: 2}
	r.pool(env)
	workers := []fnapi.Worker{r.up(), r.up()}
	d := stage([]string{"out"}, "f")
	for _, w := range workers {
		var runs []fnapi.Running
		for range 5 {
			b := bundle(d, &output{}, "x", "y")
			b.State = state
			runs = append(runs, w.Start(b))
		}
		for _, run := range runs {
			finishWell(t, run)
		}
	}
	hang := fnapitest.StartPool(t, fnapitest.Hang)
	closed := r.pool(fnapi.Environment{Env: hang.Environment()})
	w := r.up()
	w.Start(bundle(d, &output{}, "x")).Abandon()
	w.Start(bundle(d, &output{}, "x"))
	closed.Close()
	dead := fnapitest.StartPool(t, fnapitest.Die)
	r.pool(fnapi.Environment{Env: dead.Environment()})
	_, _ = finish(t, r.up().Start(bundle(d, &output{}, "x")))
	_ = await(t, r.losses, "loss")
	r.pool(fnapi.Environment{Env: external(freeAddress(t))})
	warm := r.pool(fnapi.Environment{Env: harness("echo"), Parallelism: 1})
	warm.Close()
}
