package main

import (
	"bytes"
	"errors"
	"testing"

	"fresnel/internal/beam"
	"fresnel/internal/coder"
)

var pairs = coder.NewWindowed(coder.KVOf(coder.StringUTF8, coder.StringUTF8), coder.GlobalWindow)

// pair is an encoded KV of two strings of one letter.
func pair(kv string) []byte {
	return append(coder.AppendHeader(nil, 0, 1, nil, beam.NoFiring), 1, kv[0], 1, kv[1])
}

func encoded(kvs ...string) []byte {
	var all []byte
	for _, kv := range kvs {
		all = append(all, pair(kv)...)
	}
	return all
}

func joined(blocks []block) []byte {
	var all []byte
	for _, b := range blocks {
		all = append(all, b.data...)
	}
	return all
}

func TestElementsInPiecesAreWholeInThePile(t *testing.T) {
	t.Parallel()
	all := encoded("a1", "b2", "c3")
	for at := range all {
		p := pile{coder: pairs}
		if err := p.add([][]byte{all[:at], all[at:]}); err != nil {
			t.Fatal(err)
		}
		count := 0
		for _, b := range p.blocks {
			count += b.count
		}
		if count != 3 || !bytes.Equal(joined(p.blocks), all) {
			t.Errorf("cut at %d: %d elements", at, count)
		}
	}
}

func TestOutputThatEndsWithinAnElementIsAnError(t *testing.T) {
	t.Parallel()
	p := pile{coder: pairs}
	if err := p.add([][]byte{encoded("a1", "b2")[:20]}); !errors.Is(err, coder.ErrShort) {
		t.Errorf("the error is %v", err)
	}
}

func TestElementsOfAKeyAreBroughtTogether(t *testing.T) {
	t.Parallel()
	p := pile{coder: pairs}
	if err := p.add([][]byte{encoded("b1", "a1"), encoded("b2", "a2", "b3")}); err != nil {
		t.Fatal(err)
	}
	blocks, err := p.byKey()
	if err != nil || !bytes.Equal(joined(blocks), encoded("b1", "b2", "b3", "a1", "a2")) {
		t.Errorf("they are %q, %v", joined(blocks), err)
	}
	if len(p.take()) != 0 {
		t.Error("the pile was not emptied")
	}
}

func TestBundlesHaveAboutSoManyElements(t *testing.T) {
	t.Parallel()
	blocks := []block{{[]byte("a"), 3}, {[]byte("b"), 3}, {[]byte("c"), 9}, {[]byte("d"), 1}}
	var got []string
	for _, b := range bundles(blocks, 5) {
		got = append(got, string(bytes.Join(b, nil)))
	}
	if len(got) != 3 || got[0] != "ab" || got[1] != "c" || got[2] != "d" {
		t.Errorf("they are %q", got)
	}
}
