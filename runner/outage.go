package runner

import (
	"sync/atomic"

	"fresnel/jobservice"
)

// outage folds what the user is told of a fault that several shards of a stage
// meet at once: of each round of tries the first to fail tells.
type outage struct{ rounds atomic.Int64 }

// news tells whether a shard's failure, the n-th in a row from 0 on, begins a
// round.
func (o *outage) news(n int) bool {
	for {
		told := o.rounds.Load()
		if int64(n) < told {
			return false
		}
		if o.rounds.CompareAndSwap(told, int64(n)+1) {
			return true
		}
	}
}

// over tells whether there was a fault, and it has passed.
func (o *outage) over() bool { return o.rounds.Load() > 0 && o.rounds.Swap(0) > 0 }

// inform tells the user what is no warning.
func (j *job) inform(text string) {
	j.report.Message(jobservice.Basic, j.clock.now(), text)
}
