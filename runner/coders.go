package runner

import (
	"sync"

	"fresnel/internal/coder"
	"fresnel/translate"
)

// coders parses the plan's coders once.
type coders struct {
	mu       sync.Mutex
	plan     *translate.Plan
	windowed map[string]*coder.Windowed
	plain    map[string]*coder.Coder
}

func newCoders(p *translate.Plan) *coders {
	return &coders{plan: p, windowed: map[string]*coder.Windowed{}, plain: map[string]*coder.Coder{}}
}

// element returns the windowed coder of a collection.
func (c *coders) element(col translate.Collection) (*coder.Windowed, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if w := c.windowed[col.Windowed]; w != nil {
		return w, nil
	}
	w, err := coder.ParseWindowed(col.Windowed, c.plan.Coders)
	if err == nil {
		c.windowed[col.Windowed] = w
	}
	return w, err
}

// coder returns the coder with an id.
func (c *coders) coder(id string) (*coder.Coder, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.plain[id]; k != nil {
		return k, nil
	}
	k, err := coder.Parse(id, c.plan.Coders)
	if err == nil {
		c.plain[id] = k
	}
	return k, err
}
