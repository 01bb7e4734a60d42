package store

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// model is what a Txn must read like: a plain map.
type model map[string]string

func (m model) entries(from, to string, limit int) string {
	var s string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if k >= from && k < to && limit > 0 {
			s += k + "=" + m[k] + " "
			limit--
		}
	}
	return s
}

func (m model) deleteRange(from, to string) {
	for k := range m {
		if k >= from && k < to {
			delete(m, k)
		}
	}
}

// TestATxnReadsLikeAMap runs random changes in transactions over one store and
// compares every read with a plain map, within transactions and after each
// commit; one in three transactions is thrown away and must leave no trace
// (I6).
func TestATxnReadsLikeAMap(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 1))
			m := NewMemory()
			committed := model{}
			for range 20 {
				txn, want := NewTxn(m.Entries()), maps.Clone(committed)
				for range r.IntN(60) {
					step(t, r, txn, want)
				}
				if r.IntN(3) == 0 {
					continue
				}
				var b Batch
				txn.AppendTo(&b)
				if err := m.Apply(&b); err != nil {
					t.Fatal(err)
				}
				committed = want
				if got := entries(m.Entries(), "", "~"); got != committed.entries("", "~", 1<<30) {
					t.Fatalf("the store has %q, want %q", got, committed.entries("", "~", 1<<30))
				}
			}
		})
	}
}

func step(t *testing.T, r *rand.Rand, txn *Txn, want model) {
	t.Helper()
	a, b := key(r), key(r)
	switch r.IntN(6) {
	case 0, 1:
		v := fmt.Sprint(r.IntN(100))
		txn.Put(a, []byte(v))
		want[a] = v
	case 2:
		txn.Delete(a)
		delete(want, a)
	case 3:
		txn.DeleteRange(a, b)
		want.deleteRange(a, b)
	case 4:
		v, ok := txn.Get(a)
		if w, wok := want[a]; ok != wok || string(v) != w {
			t.Fatalf("Get(%s) = %q, %v, want %q, %v", a, v, ok, w, wok)
		}
	case 5:
		limit := r.IntN(8)
		if got := first(txn, a, b, limit); got != want.entries(a, b, limit) {
			t.Fatalf("[%s, %s) has %q, want %q", a, b, got, want.entries(a, b, limit))
		}
	}
}

// first reads up to limit entries, and each of them once more by Get.
func first(txn *Txn, from, to string, limit int) string {
	var s string
	txn.Ascend(from, to, func(k string, v []byte) bool {
		if limit--; limit < 0 {
			return false
		}
		again, _ := txn.Get(k)
		if string(again) != string(v) {
			s += "(Get differs) "
		}
		s += k + "=" + string(v) + " "
		return true
	})
	return s
}

func key(r *rand.Rand) string { return string([]byte{byte('a' + r.IntN(4)), byte('a' + r.IntN(4))}) }

func BenchmarkTxn(b *testing.B) {
	m := NewMemory()
	var fill Batch
	for i := range 100_000 {
		fill.Put(fmt.Sprintf("stage/transform/name/window/key%06d/seq", i), []byte("value"))
	}
	_ = m.Apply(&fill) // never fails in memory
	b.ReportAllocs()
	for b.Loop() {
		txn := NewTxn(m.Entries())
		for i := range 100 {
			k := fmt.Sprintf("stage/transform/name/window/key%06d/", i*997)
			txn.DeleteRange(k, k+"~")
			txn.Put(k+"seq", []byte("new"))
		}
		var batch Batch
		txn.AppendTo(&batch)
		_ = m.Apply(&batch) // never fails in memory
	}
}
