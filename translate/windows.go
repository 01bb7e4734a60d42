package translate

// standardWindows are the window functions that the runner computes itself.
var standardWindows = map[string]bool{
	urnGlobalWindows:  true,
	urnFixedWindows:   true,
	urnSlidingWindows: true,
	urnSessionWindows: true,
}
