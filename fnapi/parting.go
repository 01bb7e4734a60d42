package fnapi

import (
	"sync"
	"time"
)

// parting is how a Python harness that nobody needs any more is left: only its control
// stream is ended. Upon that it ends the others itself, and then has its functions
// torn down, while the program around it in LOOPBACK still waits for the job's end
// and does not end itself.
type parting struct {
	begun chan struct{}
	over  chan struct{} // closed when the harness has ended its streams

	mu    sync.Mutex
	open  int // data and state streams
	ended bool
}

func newParting() *parting {
	return &parting{begun: make(chan struct{}), over: make(chan struct{})}
}

// begin ends the control stream. It is called once.
func (p *parting) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.begun)
	p.see()
}

// streamOpens counts a stream.
func (p *parting) streamOpens() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open++
}

// streamEnds counts it off, and tells whether it was to end.
func (p *parting) streamEnds() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open--
	return p.see()
}

// see closes over if all is over, and tells whether the parting has begun. Called
// with p.mu held.
func (p *parting) see() bool {
	select {
	case <-p.begun:
	default:
		return false
	}
	if p.open == 0 && !p.ended {
		p.ended = true
		close(p.over)
	}
	return true
}

// partPatience is how long a harness may take to end its streams.
const partPatience = 200 * time.Millisecond

// part ends the harness's control stream and waits for the end of the others.
func (s *Server) part(h *hired) {
	h.parting.begin()
	late := time.NewTimer(partPatience)
	defer late.Stop()
	select {
	case <-h.parting.over:
	case <-h.gone:
	case <-s.closing:
	case <-late.C:
	}
}
