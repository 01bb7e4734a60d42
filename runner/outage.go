package runner

import (
	"fmt"
	"math/bits"
	"sync"
	"time"

	"fresnel/jobservice"
)

// outage folds what the user is told of a fault that several shards of a stage
// meet at once, and that may last: of each round of tries the first to fail tells;
// of a fault that stays the same only rounds further and further apart do.
type outage struct {
	mu     sync.Mutex
	rounds int
	since  time.Time
	last   string
}

// toldEvery is how far apart the rounds are at most that are told of: at 10 s a
// round some ten minutes.
const toldEvery = 64

// news tells whether the user hears of a shard's failure, the n-th in a row from 0
// on, and how often it was tried in vain, if that is worth a word.
func (o *outage) news(n int, err error, now time.Time) (tries string, tell bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if n < o.rounds {
		return "", false
	}
	if o.rounds == 0 {
		o.since = now
	}
	same := o.last == err.Error()
	o.rounds, o.last = n+1, err.Error()
	if same && bits.OnesCount(uint(n)) > 1 && n%toldEvery != 0 {
		return "", false
	}
	if n < 4 {
		return "", true
	}
	return fmt.Sprintf(" (%d times in %v)", n+1, now.Sub(o.since).Round(time.Second)), true
}

// over tells whether there was a fault, and it has passed.
func (o *outage) over() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	was := o.rounds > 0
	o.rounds, o.last = 0, ""
	return was
}

// inform tells the user what is no warning.
func (j *job) inform(text string) {
	j.logs.say(jobservice.Basic, j.clock.now(), text)
}
