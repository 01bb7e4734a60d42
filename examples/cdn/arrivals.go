package cdn

import (
	"sync"
	"time"
)

// Arrivals measures how long lines take from Kafka to the table: it is told what
// was produced and what the table says. It is safe for concurrent use.
type Arrivals struct {
	mu      sync.Mutex
	counted map[string]int64     // lines produced, by province
	waiting map[string][]arrival // those that the table does not have yet
}

// arrival tells since when Kafka has the first count lines of a province.
type arrival struct {
	count int64
	at    time.Time
}

// NewArrivals waits for nothing yet.
func NewArrivals() *Arrivals {
	return &Arrivals{counted: map[string]int64{}, waiting: map[string][]arrival{}}
}

// Produced tells that Kafka has all lines of the totals.
func (a *Arrivals) Produced(totals Totals, at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for province, s := range totals {
		if s.AccessCount > a.counted[province] {
			a.counted[province] = s.AccessCount
			a.waiting[province] = append(a.waiting[province], arrival{s.AccessCount, at})
		}
	}
}

// Seen tells what the table says, and returns how long what is new there took:
// a value for every piece of every province.
func (a *Arrivals) Seen(table Totals, now time.Time) []time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	var took []time.Duration
	for province, s := range table {
		waiting := a.waiting[province]
		for len(waiting) > 0 && waiting[0].count <= s.AccessCount {
			took = append(took, now.Sub(waiting[0].at))
			waiting = waiting[1:]
		}
		a.waiting[province] = waiting
	}
	return took
}
