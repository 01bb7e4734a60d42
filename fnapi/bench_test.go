package fnapi_test

import (
	"fmt"
	"strings"
	"testing"

	"fresnel/fnapi"
	"fresnel/fnapi/fnapitest"
	"fresnel/internal/beam"
)

func discard(beam.TransformID, string, fnapi.Payload) error { return nil }

func benchBundle(d *fnapi.Descriptor, input ...string) *fnapi.Bundle {
	b := bundle(d, &output{}, input...)
	b.Output = discard
	return b
}

func mustFinish(b *testing.B, r fnapi.Running) {
	<-r.Done()
	if _, err := r.Result(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkBundle is the round trip of a bundle of one small element through a
// scripted harness in the same process: both sides' work, and gRPC's.
func BenchmarkBundle(b *testing.B) {
	w := newRig(b, fnapi.Config{}).worker(fnapitest.Echo)
	d := stage([]string{"out"})
	mustFinish(b, w.Start(benchBundle(d, "x")))
	b.ReportAllocs()
	for b.Loop() {
		mustFinish(b, w.Start(benchBundle(d, "x")))
	}
}

// BenchmarkBundlesInFlight has 8 at once: the work alone, without the waiting.
func BenchmarkBundlesInFlight(b *testing.B) {
	w := newRig(b, fnapi.Config{}).worker(fnapitest.Echo)
	d := stage([]string{"out"})
	mustFinish(b, w.Start(benchBundle(d, "x")))
	slots := make(chan fnapi.Running, 8)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		if len(slots) == cap(slots) {
			mustFinish(b, <-slots)
		}
		slots <- w.Start(benchBundle(d, "x"))
	}
	for len(slots) > 0 {
		mustFinish(b, <-slots)
	}
}

// BenchmarkState is the round trip of a state request.
func BenchmarkState(b *testing.B) {
	r := newRig(b, fnapi.Config{})
	w := r.worker(func(bundle *fnapitest.Bundle) error {
		bundle.ReadAll()
		for range b.N {
			if _, _, err := bundle.Get(bag("s", "k"), nil); err != nil {
				return err
			}
		}
		return nil
	})
	bun := bundle(stage(nil), &output{})
	bun.State = &cells{}
	b.ReportAllocs()
	b.ResetTimer()
	mustFinish(b, w.Start(bun))
}

// BenchmarkData is a bundle of 64 MB that comes back whole; most of the work is
// the scripted harness's.
func BenchmarkData(b *testing.B) {
	w := newRig(b, fnapi.Config{}).worker(fnapitest.Echo)
	d := stage([]string{"out"})
	input := make([]string, 64)
	for i := range input {
		input[i] = strings.Repeat("x", 1<<20)
	}
	bundle := benchBundle(d, input...)
	b.SetBytes(64 << 20)
	b.ReportAllocs()
	for b.Loop() {
		bundle.ID += "'"
		mustFinish(b, w.Start(bundle))
	}
}

// BenchmarkPythonBundle is the round trip through Beam's Python harness.
func BenchmarkPythonBundle(b *testing.B) {
	_, w := pythonRig(b)
	d := pythonStage(b, "Echo")
	mustFinish(b, w.Start(benchBundle(d, kv("a", "1"))))
	for b.Loop() {
		mustFinish(b, w.Start(benchBundle(d, kv("a", "1"))))
	}
}

// BenchmarkPythonState is what a key takes whose value a bundle writes, as Python
// does it at the bundle's end: it waits for the answer before it goes on with the
// next key. Two bundles in flight gain little, nor would requests ahead of the
// answers: the time is the interpreter's, for four changes of threads a request.
func BenchmarkPythonState(b *testing.B) {
	const keys = 50
	_, w := pythonRig(b)
	d := pythonStage(b, "Write")
	for _, flight := range []int{1, 2} {
		b.Run(fmt.Sprintf("bundles=%d", flight), func(b *testing.B) {
			input := make([]string, keys)
			for i := range input {
				input[i] = kv(fmt.Sprint(i), "value")
			}
			for b.Loop() {
				var all []fnapi.Running
				for range flight {
					one := benchBundle(d, input...)
					one.State = &cells{}
					all = append(all, w.Start(one))
				}
				for _, r := range all {
					mustFinish(b, r)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*keys*flight), "us/key")
		})
	}
}
