//go:build !race

package engine

// defaultSimRuns is what a few seconds allow.
const defaultSimRuns = 2000
