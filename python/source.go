// Package wheel is the source of the Python package: what of it other programs
// of Fresnel give to the Pythons that they start, too.
package wheel

import _ "embed"

// Elements is a module that has exceptions of user code tell their element.
//
//go:embed src/fresnel/_elements.py
var Elements []byte

// Leaving is a module that keeps a program from ending before its jobs.
//
//go:embed src/fresnel/_leaving.py
var Leaving []byte

// Sizes is a module that has the harness's cache weigh plain values quickly.
//
//go:embed src/fresnel/_sizes.py
var Sizes []byte

// Commits is a module that has a bundle's state sent before any of it is waited for.
//
//go:embed src/fresnel/_commits.py
var Commits []byte

// Sampling is a module that has the end of a bundle not wait for what samples it.
//
//go:embed src/fresnel/_sampling.py
var Sampling []byte

// Turns is a module that has a split not wait long for its turn at the interpreter.
//
//go:embed src/fresnel/_turns.py
var Turns []byte
