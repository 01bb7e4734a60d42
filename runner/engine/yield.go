package engine

// What a bundle puts out is nobody's until the bundle has committed: until then it
// takes memory, and those who would work it off wait. A few elements may make very
// much, names of files for example. So a bundle that has put out more than
// Options.MaxBundleOutput is cut short: it ends with the element that it is at, and
// the others go back. The next ones of its stage are formed by what an element has
// made so far.

// yield is how many bytes an element has made, as a mean that forgets.
type yield struct{ elements, bytes float64 }

// measure takes in what a bundle has put out.
func (y *yield) measure(elements int, outputs []Output) {
	if elements == 0 {
		return
	}
	bytes := 0
	for i := range outputs {
		bytes += outputs[i].Block.Bytes
	}
	y.elements = y.elements*forget + float64(elements)
	y.bytes = y.bytes*forget + float64(bytes)
}

// limit is how many elements should make no more than so many bytes.
func (y *yield) limit(bytes int) int {
	if y.bytes <= 0 {
		return maxElements
	}
	return clampElements(float64(bytes) * y.elements / y.bytes)
}

// limit is how many elements a bundle of the stage may have.
func (e *Engine) limit(st *stage) int {
	return min(st.cost.limit(e.TargetBundle), e.cap(st), st.yield.limit(e.MaxBundleOutput))
}

// outputFull notes that a bundle should be cut short. A stage that makes so much
// is not one that waits.
func (e *Engine) outputFull(ev *OutputFull) {
	if b := e.bundles[ev.Bundle]; b != nil {
		b.asked.full = true
		b.stage.width.computes()
	}
}

// cutShort is the fraction of the rest that a bundle keeps which is cut short: the
// element that it is at, as good as. (0 is a checkpoint.)
const cutShort = 1.0 / 1024
