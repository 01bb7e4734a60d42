package window

import (
	"fmt"
	"slices"
	"strings"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

// nodeKind is a construct of the trigger language.
type nodeKind uint8

const (
	nodeDefault nodeKind = iota
	nodeAlways
	nodeNever
	nodeCount       // ElementCount
	nodeDelay       // AfterProcessingTime, AfterSynchronizedProcessingTime
	nodeEndOfWindow // AfterEndOfWindow; subs are early, late
	nodeRepeat      // subs[0], again and again
	nodeOrFinally   // subs are main, finally
	nodeAfterAny    // at the first of subs
	nodeAfterAll    // when all of subs are ready
	nodeAfterEach   // subs one after another
	noSub           = -1
)

var nodeNames = [...]string{"default", "always", "never", "count", "delay", "end-of-window",
	"repeat", "or-finally", "after-any", "after-all", "after-each"}

// node is one construct in a trigger. Nodes are kept in one slice, each before
// those below it, so that the state of a cell is a slice of equal length.
type node struct {
	kind  nodeKind
	count int64   // of nodeCount
	delay []delay // of nodeDelay
	subs  []int   // noSub for an early or late trigger that is not there
	end   int     // the index behind the subtree
}

// trigger is a tree of nodes, the root first.
type trigger struct {
	nodes []node
	// merging: windows may merge, so that a step once finished may be open again.
	merging bool
	// timed: some node waits for processing time.
	timed bool
	// perElement: some node counts elements.
	perElement bool
}

// Bounds of what a client may send, far above what a pipeline has.
const (
	maxTriggerDepth = 100
	maxTriggerNodes = 1000
)

func parseTrigger(p *pipepb.Trigger, merging bool) (*trigger, error) {
	t := &trigger{merging: merging}
	if _, err := t.parse(p, 1); err != nil {
		return nil, err
	}
	return t, nil
}

// parse adds p and what is below, and returns its index.
func (t *trigger) parse(p *pipepb.Trigger, depth int) (int, error) {
	if depth > maxTriggerDepth || len(t.nodes) >= maxTriggerNodes {
		return 0, unsupported("a trigger of over %d levels or %d parts", maxTriggerDepth, maxTriggerNodes)
	}
	i := len(t.nodes)
	t.nodes = append(t.nodes, node{})
	n, below, err := readNode(p)
	if err != nil {
		return 0, err
	}
	for _, sub := range below {
		at := noSub
		if sub != nil || n.kind != nodeEndOfWindow {
			if at, err = t.parse(sub, depth+1); err != nil {
				return 0, err
			}
		}
		n.subs = append(n.subs, at)
	}
	n.end = len(t.nodes)
	t.nodes[i] = n
	t.timed = t.timed || n.kind == nodeDelay
	t.perElement = t.perElement || n.kind == nodeCount || n.kind == nodeAlways
	return i, nil
}

// readNode reads one construct and lists the protos below it.
func readNode(p *pipepb.Trigger) (n node, below []*pipepb.Trigger, err error) {
	switch v := p.GetTrigger().(type) {
	case *pipepb.Trigger_Default_:
		return node{kind: nodeDefault}, nil, nil
	case *pipepb.Trigger_Always_:
		return node{kind: nodeAlways}, nil, nil
	case *pipepb.Trigger_Never_:
		return node{kind: nodeNever}, nil, nil
	case *pipepb.Trigger_ElementCount_:
		return readCount(v.ElementCount.GetElementCount())
	case *pipepb.Trigger_AfterProcessingTime_:
		n.kind = nodeDelay
		n.delay, err = readDelays(v.AfterProcessingTime.GetTimestampTransforms())
		return n, nil, err
	case *pipepb.Trigger_AfterSynchronizedProcessingTime_:
		// What came before is committed when an element arrives, so that the
		// time has caught up at the next Advance.
		return node{kind: nodeDelay}, nil, nil
	case *pipepb.Trigger_AfterEndOfWindow_:
		e := v.AfterEndOfWindow
		return node{kind: nodeEndOfWindow}, []*pipepb.Trigger{e.GetEarlyFirings(), e.GetLateFirings()}, nil
	case *pipepb.Trigger_Repeat_:
		return node{kind: nodeRepeat}, []*pipepb.Trigger{v.Repeat.GetSubtrigger()}, nil
	case *pipepb.Trigger_OrFinally_:
		return node{kind: nodeOrFinally}, []*pipepb.Trigger{v.OrFinally.GetMain(), v.OrFinally.GetFinally()}, nil
	case *pipepb.Trigger_AfterAny_:
		return composite(nodeAfterAny, v.AfterAny.GetSubtriggers())
	case *pipepb.Trigger_AfterAll_:
		return composite(nodeAfterAll, v.AfterAll.GetSubtriggers())
	case *pipepb.Trigger_AfterEach_:
		return composite(nodeAfterEach, v.AfterEach.GetSubtriggers())
	}
	return node{}, nil, invalid("a trigger is missing, or of a kind that the Beam model does not have")
}

func readCount(count int32) (node, []*pipepb.Trigger, error) {
	if count < 0 {
		return node{}, nil, invalid("a trigger after %d elements", count)
	}
	return node{kind: nodeCount, count: max(int64(count), 1)}, nil, nil
}

func composite(kind nodeKind, below []*pipepb.Trigger) (node, []*pipepb.Trigger, error) {
	if len(below) == 0 {
		return node{}, nil, invalid("a composite trigger (%s) without sub-triggers", nodeNames[kind])
	}
	return node{kind: kind}, below, nil
}

// onlyAtEnd says that, if no data is late, the only pane is the one at the end
// of the window.
func (t *trigger) onlyAtEnd() bool {
	root := t.nodes[0]
	switch root.kind {
	case nodeDefault, nodeNever:
		return true
	case nodeEndOfWindow:
		return root.subs[0] == noSub
	}
	return false
}

// firesByEnd says that the subtree at i has fired once the watermark is past the end of
// the window, whatever elements came and however long ago.
func (t *trigger) firesByEnd(i int) bool {
	n := &t.nodes[i]
	switch n.kind {
	case nodeDefault, nodeEndOfWindow:
		return true
	case nodeRepeat, nodeAfterEach:
		return t.firesByEnd(n.subs[0])
	case nodeOrFinally, nodeAfterAny:
		return slices.ContainsFunc(n.subs, t.firesByEnd)
	case nodeAfterAll:
		return !slices.ContainsFunc(n.subs, func(sub int) bool { return !t.firesByEnd(sub) })
	}
	return false
}

// describe prints the subtree at i.
func (t *trigger) describe(i int) string {
	n := &t.nodes[i]
	var parts []string
	switch n.kind {
	case nodeCount:
		parts = append(parts, fmt.Sprint(n.count))
	case nodeDelay:
		for _, d := range n.delay {
			parts = append(parts, d.String())
		}
	}
	for k, sub := range n.subs {
		switch {
		case sub == noSub:
		case n.kind == nodeEndOfWindow:
			parts = append(parts, [...]string{"early=", "late="}[k]+t.describe(sub))
		default:
			parts = append(parts, t.describe(sub))
		}
	}
	if len(parts) == 0 {
		return nodeNames[n.kind]
	}
	return nodeNames[n.kind] + "(" + strings.Join(parts, ", ") + ")"
}
