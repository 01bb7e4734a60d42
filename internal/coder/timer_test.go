package coder

import (
	"bytes"
	"reflect"
	"testing"
)

func TestTimers(t *testing.T) {
	t.Parallel()
	c := TimerOf(StringUTF8, IntervalWindow)
	key, window := "036b6579", "800000000000ea60 e0d403"
	for _, test := range []struct {
		name, hex string
		want      Timer
	}{
		{"set", key + "0174 00000001" + window + "00 800000000000ea5f 8000000000007530 0f", Timer{
			Key: unhex(t, key), Tag: "t", WindowCount: 1, Windows: unhex(t, window),
			Fire: 59999, Hold: 30000, Pane: []byte{0x0f}}},
		{"cleared", key + "00 00000001" + window + "01", Timer{
			Key: unhex(t, key), WindowCount: 1, Windows: unhex(t, window), Clear: true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := unhex(t, test.hex)
			var got Timer
			if n, err := c.ScanTimer(append(bytes.Clone(b), 1), &got); n != len(b) || err != nil {
				t.Fatal(n, err)
			}
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("%+v, not %+v", got, test.want)
			}
			if back := AppendTimer(nil, &got); !bytes.Equal(back, b) {
				t.Errorf("%x, not %x", back, b)
			}
			checkEnds(t, c, b)
			windows := 0
			if err := c.EachTimerWindow(&got, func([]byte) error { windows++; return nil }); windows != 1 || err != nil {
				t.Error(windows, err)
			}
		})
	}
}

func TestOnlyTimerCodersScanTimers(t *testing.T) {
	t.Parallel()
	var timer Timer
	if _, err := Bytes.ScanTimer([]byte{0}, &timer); err == nil {
		t.Error("bytes are no timer")
	}
	if err := Bytes.EachTimerWindow(&timer, nil); err == nil {
		t.Error("bytes are no timer")
	}
}

func TestSkippingTimersDoesNotAllocate(t *testing.T) {
	c := TimerOf(StringUTF8, GlobalWindow)
	b := AppendTimer(nil, &Timer{Key: []byte{0}, Tag: "a tag", WindowCount: 1, Pane: []byte{0x0f}})
	if got := testing.AllocsPerRun(100, func() { _, _ = c.Skip(b) }); got != 0 {
		t.Errorf("%v allocations", got)
	}
}
