package coder

import (
	"bytes"
	"testing"

	"fresnel/internal/beam"
)

// Written by the Python SDK.
var paneTests = []struct {
	hex  string
	pane beam.Pane
}{
	{"0f", beam.NoFiring},
	{"07", beam.Pane{First: true, Last: true, Timing: beam.OnTime}},
	{"1100", beam.Pane{First: true, Timing: beam.Early, NonSpeculative: -1}},
	{"1005", beam.Pane{Timing: beam.Early, Index: 5, NonSpeculative: -1}},
	{"261e28", beam.Pane{Last: true, Timing: beam.OnTime, Index: 30, NonSpeculative: 40}},
	{"18ac02", beam.Pane{Timing: beam.Late, Index: 300, NonSpeculative: 300}},
}

func TestPanes(t *testing.T) {
	t.Parallel()
	for _, test := range paneTests {
		b := unhex(t, test.hex)
		pane, n, err := DecodePane(append(bytes.Clone(b), 0xff))
		if pane != test.pane || n != len(b) || err != nil {
			t.Errorf("%s: %+v, %d, %v", test.hex, pane, n, err)
		}
		if got := AppendPane(nil, test.pane); !bytes.Equal(got, b) {
			t.Errorf("%+v: %x, not %s", test.pane, got, test.hex)
		}
		for i := range b {
			if _, _, err := DecodePane(b[:i]); err != ErrShort {
				t.Errorf("%x: %v", b[:i], err)
			}
		}
	}
}

func TestEarlyPaneInOneByteHasNoNonSpeculativeIndex(t *testing.T) {
	t.Parallel()
	if pane, _, err := DecodePane([]byte{0x01}); pane.NonSpeculative != -1 || err != nil {
		t.Errorf("%+v, %v", pane, err)
	}
}
