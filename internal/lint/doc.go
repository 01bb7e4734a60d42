// Package lint holds the shape of the tree to what docs/architecture.md says of it: which package may import which,
// what each must not know, and how packages are called. The rules are the table in rules.go; the package's own test
// applies them to the module, so that `go test ./...` fails on a forbidden arrow.
//
//	source files ──parse──▶ imports, go statements, clock calls ──rules──▶ violations
//
// Test files are free to import what they need to set up a case, and are not looked at.
package lint
