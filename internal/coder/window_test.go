package coder

import (
	"testing"

	"fresnel/internal/beam"
)

func TestMaxTimestamp(t *testing.T) {
	t.Parallel()
	custom := simple(KindCustomWindow, LengthPrefixOf(simple(KindUnknown)))
	for _, test := range []struct {
		coder *Coder
		hex   string
		want  beam.EventTime
	}{
		{GlobalWindow, "", beam.EndOfGlobalWindow},
		{IntervalWindow, "80000000000055f0 904e", 21999},
		{IntervalWindow, "ffffffffffffffff 00", beam.MaxEventTime},
		{custom, "8000000000000007 00", 7},
	} {
		got, err := test.coder.MaxTimestamp(unhex(t, test.hex))
		if got != test.want || err != nil {
			t.Errorf("%s %s: %v, %v", test.coder, test.hex, got, err)
		}
	}
	if _, err := IntervalWindow.MaxTimestamp(nil); !isBadData(err) {
		t.Error(err)
	}
	if _, err := Bytes.MaxTimestamp(nil); err == nil {
		t.Error("bytes are no window")
	}
}
