package engine

import "time"

// cost is what bundles of a stage have been measured to take: a fixed time
// and a time for each element, by a regression that forgets.
type cost struct {
	fixed, element float64 // ns
	// least and most bound the fixed time: an outlier must not stop bundling.
	least, most float64
	// w, x, y, xx, xy are decayed sums of the measurements. Each weighs as the
	// inverse square of its time: errors are in proportion to that, and it is the
	// small bundles that tell the fixed cost.
	w, x, y, xx, xy float64
	// seen is the largest bundle so far; the next may be rampUp times as large.
	seen int
	// samples counts measurements.
	samples int
}

const (
	// firstBundle is how many elements a stage's first bundle takes: enough to
	// measure it, few enough that a slow one is known soon.
	firstBundle = 16
	rampUp      = 8
	// forget is the weight of the past at each measurement.
	forget = 0.9
	// worth is how many times its fixed cost a bundle must work not to be small.
	worth = 4
)

func newCost(perBundle time.Duration) cost {
	guess := float64(perBundle)
	return cost{fixed: guess, least: guess / 2, most: guess * 8}
}

// measure takes in a bundle's elements and the time that it had the worker for.
func (c *cost) measure(elements int, took time.Duration) {
	if elements == 0 || took < 0 {
		return // timers alone say nothing about elements
	}
	c.seen = max(c.seen, min(elements, maxElements/rampUp))
	if c.samples++; c.samples == 2 {
		// The first bundle also paid for setting the stage up.
		c.w, c.x, c.y, c.xx, c.xy = 0, 0, 0, 0, 0
	}
	x, y := float64(elements), max(float64(took), 1e3)
	w := 1 / (y * y)
	c.w = c.w*forget + w
	c.x = c.x*forget + w*x
	c.y = c.y*forget + w*y
	c.xx = c.xx*forget + w*x*x
	c.xy = c.xy*forget + w*x*y
	c.solve()
}

// solve finds the line; where all bundles were about as large it keeps the
// fixed cost that is known and gives the rest to the elements.
func (c *cost) solve() {
	meanX, meanY := c.x/c.w, c.y/c.w
	variance := c.xx/c.w - meanX*meanX
	if variance > 0.04*meanX*meanX {
		slope := max((c.xy/c.w-meanX*meanY)/variance, 0)
		c.fixed = min(max(meanY-slope*meanX, c.least), c.most)
	}
	c.element = max((meanY-c.fixed)/meanX, 0)
}

// enough is how many elements make a bundle worth its fixed cost.
func (c *cost) enough() int {
	if c.element <= 0 {
		return maxElements
	}
	return clampElements(worth * c.fixed / c.element)
}

// most elements that a bundle may take to be done within the target.
func (c *cost) limit(target time.Duration) int { return c.limitOf(firstBundle, target) }

func (c *cost) limitOf(first int, target time.Duration) int {
	if c.seen == 0 {
		return first
	}
	ramp := max(first, rampUp*c.seen)
	if c.element <= 0 {
		return ramp
	}
	return max(min(ramp, clampElements((float64(target)-c.fixed)/c.element)), 1)
}

// expected is how long a bundle of so many elements should take.
func (c *cost) expected(elements int) time.Duration {
	return time.Duration(c.fixed + c.element*float64(elements))
}

const maxElements = 1 << 30

func clampElements(f float64) int {
	if f >= maxElements {
		return maxElements
	}
	return max(int(f), 1)
}
