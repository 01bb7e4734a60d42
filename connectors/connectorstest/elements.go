// Package connectorstest is the suite that every connector passes: what the
// contract in package connectors promises to the runner, tried against a real
// server. A connector's test describes its server and its transform, and the
// suite does the rest.
package connectorstest

import (
	"testing"

	"fresnel/internal/beam"
	"fresnel/internal/coder"
)

// Element is one decoded element.
type Element struct {
	Timestamp beam.EventTime
	// Text is the value as the case renders it.
	Text string
}

// decode splits a batch into elements and renders their values.
func decode(t testing.TB, c *coder.Coder, render func(any) string, b []byte) []Element {
	t.Helper()
	windowed := coder.NewWindowed(c, coder.GlobalWindow)
	var out []Element
	for len(b) > 0 {
		var e coder.Element
		n, err := windowed.Scan(b, &e)
		if err != nil {
			t.Fatalf("after %d elements: %v", len(out), err)
		}
		v, size, err := c.Decode(e.Value)
		if err != nil || size != len(e.Value) {
			t.Fatalf("element %d: %v, %d of %d bytes", len(out), err, size, len(e.Value))
		}
		pane, _, err := coder.DecodePane(e.Pane)
		if err != nil || pane != beam.NoFiring || e.WindowCount != 1 {
			t.Fatalf("element %d is in %d windows with pane %+v, %v", len(out), e.WindowCount, pane, err)
		}
		out = append(out, Element{e.Timestamp, render(v)})
		b = b[n:]
	}
	return out
}

// Encode makes the windowed elements that a sink is given.
func Encode(t testing.TB, c *coder.Coder, ts beam.EventTime, values ...any) [][]byte {
	t.Helper()
	out := make([][]byte, len(values))
	for i, v := range values {
		b, err := c.Append(coder.AppendHeader(nil, ts, 1, nil, beam.NoFiring), v)
		if err != nil {
			t.Fatal(err)
		}
		out[i] = b
	}
	return out
}

func texts(elements []Element) []string {
	out := make([]string, len(elements))
	for i, e := range elements {
		out[i] = e.Text
	}
	return out
}
