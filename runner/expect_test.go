package runner

import (
	"testing"

	"fresnel/jobservice"
)

// TestALoopbackJobsWorkerIsStartedWhenItIsPrepared: and the job that is run has
// that one. Other services are asked when it runs: what their workers install
// may not be staged before.
func TestALoopbackJobsWorkerIsStartedWhenItIsPrepared(t *testing.T) {
	for kind, early := range map[string]bool{"LOOPBACK": true, "EXTERNAL": false} {
		t.Run(kind, func(t *testing.T) {
			r := newRig(t)
			r.options["environment_type"] = kind
			r.do["make"] = create(at(0, "k", "v"))
			r.sink("out")
			r.submitted = func(s *jobservice.Submission) {
				if err := r.runner.Check(s); err != nil {
					t.Error(err)
				}
				if early {
					<-r.pool.Started()
				}
				if n := len(r.pool.Requests()); n > 0 != early {
					t.Errorf("%d workers were started for a job that was prepared", n)
				}
			}
			p := newPipe().impulse("impulse", "i").pardo("make", nil, "in=i", "out=o:").write("write", "out", "o")
			r.startWhole(p).mustEnd()
			if n := len(r.pool.Requests()); n != 1 {
				t.Errorf("%d workers were started", n)
			}
		})
	}
}
