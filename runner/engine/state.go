package engine

var stateNames = [...]string{"running", "draining", "halting", "done", "drained", "halted", "cancelled", "failed"}

// String names the state.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return "unknown"
}
