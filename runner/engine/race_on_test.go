//go:build race

package engine

// defaultSimRuns is small under the race detector: the engine has one
// goroutine, and runs ten times as long there.
const defaultSimRuns = 300
