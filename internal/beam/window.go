package beam

// Window is an interval window [Start, End) or the global window. The windows
// of SDK-defined window functions are opaque bytes and are not of this type.
type Window struct {
	Start, End EventTime
}

// GlobalWindow is the single window of the global window function.
var GlobalWindow = Window{Start: MinEventTime, End: EndOfGlobalWindow + 1}

// MaxTimestamp is the last instant that belongs to the window.
func (w Window) MaxTimestamp() EventTime { return w.End - 1 }
