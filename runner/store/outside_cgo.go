//go:build cgo

package store

// treesOutside tells that trees allocate with C.
const treesOutside = true
