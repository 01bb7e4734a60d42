package coder

import (
	"bytes"
	"math"
	"math/big"
	"testing"
)

func TestDecimals(t *testing.T) {
	t.Parallel()
	c := simple(KindDecimal)
	// Written by the Python SDK.
	for text, hex := range map[string]string{
		"0": "000100", "-1": "0001ff", "127": "00017f", "128": "00020080", "-128": "000180",
		"-129": "0002ff7f", "255": "000200ff", "256": "00020100", "-0.001": "0301ff",
		"12345678901234567890.123": "030a029d42b64e76714244cb",
	} {
		d := decimalOf(t, text)
		if b, err := c.Append(nil, d); err != nil || !bytes.Equal(b, unhex(t, hex)) {
			t.Errorf("%s: %x, %v", text, b, err)
		}
		v, _, err := c.Decode(unhex(t, hex))
		if err != nil || v.(Decimal).String() != text {
			t.Errorf("%s: %v, %v", text, v, err)
		}
	}
}

func TestNegativeScales(t *testing.T) {
	t.Parallel()
	c := simple(KindDecimal)
	for _, hex := range []string{"fdffffffffffffffff01 0101" /* Python */, "fdffffff0f 0101" /* Java */} {
		v, _, err := c.Decode(unhex(t, hex))
		if err != nil || v.(Decimal).String() != "1E3" {
			t.Errorf("%s: %v, %v", hex, v, err)
		}
		if b, err := c.Append(nil, v); err != nil || !bytes.Equal(b, unhex(t, "00 02 03e8")) {
			t.Errorf("%v: %x, %v", v, b, err)
		}
	}
	if _, err := c.Append(nil, Decimal{big.NewInt(1), math.MinInt32}); err == nil {
		t.Error("two billion digits")
	}
}

func TestHugeScalesPrintShort(t *testing.T) {
	t.Parallel()
	for want, d := range map[string]Decimal{
		"7E-2147483647": {big.NewInt(7), math.MaxInt32},
		"7E2147483648":  {big.NewInt(7), math.MinInt32},
		"-0.07":         {big.NewInt(-7), 2},
		"0":             {},
	} {
		if got := d.String(); got != want {
			t.Errorf("%s, not %s", got, want)
		}
	}
}

func TestWhatIsNotADecimal(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "-", ".", "1.-2", ".-5", "1e3", "1_000", "0x1", "NaN", " 1"} {
		if d, err := ParseDecimal(s); !isBadData(err) {
			t.Errorf("%q: %v, %v", s, d, err)
		}
	}
	for s, want := range map[string]string{"+1.50": "1.50", "-.5": "-0.5", "5.": "5"} {
		if d, err := ParseDecimal(s); err != nil || d.String() != want {
			t.Errorf("%q: %v, %v", s, d, err)
		}
	}
}
