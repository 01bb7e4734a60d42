package fnapi

import "sync"

// outbox hands items from any goroutine to the one that sends them, in order.
// It does not block the giver: what bounds it is the number of bundles.
type outbox[T any] struct {
	mu    sync.Mutex
	items []T
	// more has a token while items wait.
	more chan struct{}
}

func newOutbox[T any]() *outbox[T] {
	return &outbox[T]{more: make(chan struct{}, 1)}
}

func (o *outbox[T]) put(item T) {
	o.mu.Lock()
	o.items = append(o.items, item)
	o.mu.Unlock()
	select {
	case o.more <- struct{}{}:
	default:
	}
}

// take returns all that waits.
func (o *outbox[T]) take() []T {
	o.mu.Lock()
	defer o.mu.Unlock()
	items := o.items
	o.items = nil
	return items
}
