package coder

import (
	"math/big"
	"strings"
)

// A decimal is its scale as a 32-bit varint, then the unscaled number in two's
// complement, big endian and as short as can be, as length-prefixed bytes.
//
// Java and Python do not agree on negative scales: one writes 32 bits, the
// other 64. Either is read; none is written.

// Decimal is the number Unscaled * 10^-Scale. A nil Unscaled is 0.
type Decimal struct {
	Unscaled *big.Int
	Scale    int32
}

// maxZeros bounds the digits that a few bytes can ask for.
const maxZeros = 10_000

// ParseDecimal reads a number such as -12.340; it has the scale that is
// written.
func ParseDecimal(s string) (Decimal, error) {
	digits, fraction, _ := strings.Cut(s, ".")
	unscaled, ok := new(big.Int).SetString(digits+fraction, 10)
	if !ok || strings.ContainsAny(fraction, "+-") {
		return Decimal{}, malformed("%q is not a decimal number", excerpt([]byte(s)))
	}
	return Decimal{Unscaled: unscaled, Scale: int32(len(fraction))}, nil
}

func (d Decimal) unscaled() *big.Int {
	if d.Unscaled == nil {
		return new(big.Int)
	}
	return d.Unscaled
}

// String writes the number with a point, or with an exponent if it would be
// too long.
func (d Decimal) String() string {
	digits := d.unscaled().String()
	switch {
	case d.Scale == 0:
		return digits
	case d.Scale < 0 || d.Scale > maxZeros:
		return digits + "E" + big.NewInt(-int64(d.Scale)).String()
	}
	sign := ""
	if digits[0] == '-' {
		sign, digits = "-", digits[1:]
	}
	if missing := int(d.Scale) + 1 - len(digits); missing > 0 {
		digits = strings.Repeat("0", missing) + digits
	}
	point := len(digits) - int(d.Scale)
	return sign + digits[:point] + "." + digits[point:]
}

func skipDecimal(b []byte) (int, error) {
	n, err := skipVarInt(b)
	if err != nil {
		return 0, err
	}
	size, err := skipLengthPrefixed(b[n:])
	if err != nil {
		return 0, err
	}
	return n + size, nil
}

func decodeDecimal(b []byte) (Decimal, int, error) {
	scale, at, err := decodeInt32(b)
	if err != nil {
		return Decimal{}, 0, err
	}
	content, size, err := DecodeLengthPrefixed(b[at:])
	if err != nil {
		return Decimal{}, 0, err
	}
	if len(content) == 0 {
		return Decimal{}, 0, malformed("a decimal without digits")
	}
	return Decimal{Unscaled: fromTwosComplement(content), Scale: scale}, at + size, nil
}

func appendDecimal(dst []byte, d Decimal) ([]byte, error) {
	unscaled := d.unscaled()
	switch {
	case d.Scale < -maxZeros:
		return nil, malformed("a decimal with a scale of %d", d.Scale)
	case d.Scale < 0:
		zeros := new(big.Int).Exp(big.NewInt(10), big.NewInt(-int64(d.Scale)), nil)
		unscaled = zeros.Mul(zeros, unscaled)
	}
	dst = AppendVarInt(dst, int64(max(d.Scale, 0)))
	return AppendLengthPrefixed(dst, twosComplement(unscaled)), nil
}

func fromTwosComplement(b []byte) *big.Int {
	i := new(big.Int).SetBytes(b)
	if b[0] >= 0x80 {
		i.Sub(i, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
	}
	return i
}

// twosComplement returns the shortest encoding, of at least a byte.
func twosComplement(i *big.Int) []byte {
	magnitude := i // as many bits as the number needs beside the sign
	if i.Sign() < 0 {
		magnitude = new(big.Int).Not(i)
	}
	b := make([]byte, magnitude.BitLen()/8+1)
	magnitude.FillBytes(b)
	if i.Sign() < 0 {
		for at := range b {
			b[at] = ^b[at]
		}
	}
	return b
}
