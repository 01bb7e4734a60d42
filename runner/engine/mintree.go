package engine

import "cmp"

// minTree holds a fixed number of values, one for each shard (or edge, or
// stage), and knows the least of them. Setting one costs its logarithm, so that
// a commit of one shard never looks at the others.
//
// It is a binary tree in an array: leaf i is node n+i, the parent of node k is
// node k/2, node 1 is the least of all.
type minTree[T cmp.Ordered] struct{ node []T }

// newMinTree makes a tree of n values v; the minimum of none is v.
func newMinTree[T cmp.Ordered](n int, v T) minTree[T] {
	t := minTree[T]{node: make([]T, max(2*n, 2))}
	for i := range t.node {
		t.node[i] = v
	}
	return t
}

func (t *minTree[T]) leaf(i int) int { return len(t.node)/2 + i }
func (t *minTree[T]) get(i int) T    { return t.node[t.leaf(i)] }
func (t *minTree[T]) min() T         { return t.node[1] }

func (t *minTree[T]) set(i int, v T) {
	k := t.leaf(i)
	if t.node[k] == v {
		return
	}
	t.node[k] = v
	for k /= 2; k >= 1; k /= 2 {
		least := min(t.node[2*k], t.node[2*k+1])
		if t.node[k] == least {
			return
		}
		t.node[k] = least
	}
}

// upTo appends to found the indexes of all values that are at most v.
func (t *minTree[T]) upTo(v T, found []int) []int { return t.search(1, v, found) }

func (t *minTree[T]) search(k int, v T, found []int) []int {
	if t.node[k] > v {
		return found
	}
	if n := len(t.node) / 2; k >= n {
		return append(found, k-n)
	}
	found = t.search(2*k, v, found)
	return t.search(2*k+1, v, found)
}
