package runner

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"

	"fresnel/connectors"
	"fresnel/internal/beam"
	"fresnel/runner/engine"
	"fresnel/runner/state"
	"fresnel/translate"
)

type transformProto = *pipepb.PTransform

// matcher compares a job with a plan that is to go on with it.
type matcher struct {
	*passage
	old  *job
	was  *translate.Plan
	plan *translate.Plan
	snap engine.Snapshot
	// ids are the new plan's transforms by their full names, steps all names that the
	// new pipeline has, before those that the old one had.
	ids           map[string]place
	steps, before map[string]bool
	// recast are side inputs that are something else now.
	recast map[sideKey]bool
}

// place is where a transform runs.
type place struct {
	stage int
	id    beam.TransformID
}

// index notes which names there are.
func (m *matcher) index(all map[string]transformProto) {
	m.ids, m.steps, m.before = map[string]place{}, map[string]bool{}, map[string]bool{}
	for i, s := range m.plan.Stages {
		for id, name := range s.Transforms {
			m.ids[name] = place{i, id}
		}
	}
	for _, t := range all {
		m.steps[t.GetUniqueName()] = true
	}
	for _, t := range m.old.sub.Pipeline.GetComponents().GetTransforms() {
		m.before[t.GetUniqueName()] = true
	}
}

func (m *matcher) differ(step, format string, args ...any) {
	m.differences = append(m.differences, Difference{Step: step, What: fmt.Sprintf(format, args...), Loses: true})
}

// gone says why a step does not go on: it was removed, or is something else.
func (m *matcher) gone(step string) string {
	if m.steps[step] {
		return "the step is of another kind now"
	}
	return "the step was removed"
}

// stage finds out where the state of a stage goes on.
func (m *matcher) stage(i int, st *stage) error {
	switch st.plan.Kind {
	case translate.Impulse:
		if k := m.find(st.plan); k >= 0 {
			m.stages[i] = k
		}
	case translate.Source:
		return m.source(i, st)
	case translate.Sink:
		m.sink(i, st)
	case translate.Group:
		m.group(i, st)
	case translate.Harness:
		m.sideInputs(i, st)
		return m.user(i, st)
	}
	return nil
}

// find is the stage of the new plan that is of the same kind and name, -1 if
// there is none.
func (m *matcher) find(s *translate.Stage) int {
	return slices.IndexFunc(m.plan.Stages, func(n *translate.Stage) bool { return n.Kind == s.Kind && m.name(n) == m.name(s) })
}

// name is the full name of the one transform of a stage.
func (m *matcher) name(s *translate.Stage) string {
	if s.Connector != nil {
		return s.Connector.Transform
	}
	return s.Name
}

// source lets the positions of a source's splits go on.
func (m *matcher) source(i int, st *stage) error {
	x := st.executor.(*sourceExecutor)
	name, k := m.name(st.plan), m.find(st.plan)
	if k < 0 {
		if m.snap.Stages[i].Reading > 0 && len(x.splits) > 0 {
			m.differ(name, "%s, and with it the positions of %s", m.gone(name), count(len(x.splits), "split"))
		}
		return nil
	}
	m.stages[i] = k
	was, is := st.plan.Connector, m.plan.Stages[k].Connector
	why := ""
	if was.URN != is.URN {
		why = fmt.Sprintf("the source is %s now, and was %s", is.URN, was.URN)
	} else if !bytes.Equal(was.Payload, is.Payload) {
		why = m.reconfigured(x, was.Payload, is)
	}
	if why != "" {
		delete(m.stages, i)
		m.differ(name, "%s: what was read so far says nothing about it", why)
	}
	return nil
}

// reconfigured tells why positions do not fit a source's new configuration, "" if
// they do.
func (m *matcher) reconfigured(x *sourceExecutor, was []byte, is *translate.ConnectorStage) string {
	src, err := m.old.runner.connectors[is.URN].Source(connectors.Transform{URN: is.URN, Payload: is.Payload, Name: is.Transform, Durable: true})
	if err != nil {
		return "" // the run tells of it
	}
	defer src.Close()
	c, ok := src.(connectors.Continuer)
	if !ok {
		return "the source's configuration has changed"
	}
	for _, sp := range x.splits {
		if err := c.Continues(was, sp.position); err != nil {
			return err.Error()
		}
	}
	return ""
}

// sink lets the numbers of a sink's entries go on. One that writes elsewhere, or
// otherwise, begins anew with 1, under another name: all that there is of the old
// one is written.
func (m *matcher) sink(i int, st *stage) {
	name, k := m.name(st.plan), m.find(st.plan)
	out := slices.ContainsFunc(m.old.journal.unwritten, func(e engine.Entry) bool { return e.Stage == i })
	switch {
	case k < 0 && out:
		m.differ(name, "%s, and an entry of it may not be written", m.gone(name))
	case k < 0:
	case m.plan.Stages[k].Connector.URN == st.plan.Connector.URN && bytes.Equal(m.plan.Stages[k].Connector.Payload, st.plan.Connector.Payload):
		m.stages[i] = k
	case out:
		m.differ(name, "its configuration has changed, and an entry of it may not be written")
	}
}

// group lets a grouping's keys go on.
func (m *matcher) group(i int, st *stage) {
	keys, size := 0, int64(0)
	for _, sh := range st.executor.(*groupExecutor).shards {
		keys += sh.Keys()
		size += sh.Bytes()
	}
	name, k := st.plan.Name, m.find(st.plan)
	var why string
	if k < 0 {
		why = m.gone(name)
	} else {
		why = m.regrouped(st.plan, m.plan.Stages[k])
	}
	switch {
	case why == "":
		m.stages[i] = k
	case keys > 0 || m.snap.Stages[i].Hold < beam.MaxEventTime:
		m.differ(name, "%s, and there are groups in progress (about %d bytes)", why, size)
	}
}

// regrouped tells why the groups of one stage are not those of another.
func (m *matcher) regrouped(was, is *translate.Stage) string {
	a, b := was.Inputs[0], is.Inputs[0]
	switch {
	case was.Group.Accumulators != is.Group.Accumulators || (was.Group.MergeWindows == nil) != (is.Group.MergeWindows == nil):
		return "it groups in another way"
	case m.was.CoderText(a.Coder) != m.plan.CoderText(b.Coder):
		return m.recoded("its input", a.Coder, b.Coder)
	case !translate.SameWindows(m.was, a.Windowing, m.plan, b.Windowing):
		return "the window function of its input has changed"
	case !translate.SameWindowing(m.was, a.Windowing, m.plan, b.Windowing):
		return "the trigger, the accumulation mode or the allowed lateness of its input has changed"
	}
	return ""
}

func (m *matcher) recoded(what, was, is string) string {
	return fmt.Sprintf("the coder of %s has changed from %s to %s", what, m.was.CoderText(was), m.plan.CoderText(is))
}

// user lets the state cells and timers of a stage go on.
func (m *matcher) user(i int, st *stage) error {
	h := st.plan.Harness
	if !st.plan.Keyed {
		return nil
	}
	surveys, err := state.Look(m.old.store.Entries(), i)
	if err != nil {
		return err
	}
	kept := map[stateCell]*state.Survey{}
	for _, s := range surveys {
		kept[stateCell{s.Transform, s.Name, s.Timers}] = s
	}
	for _, s := range h.States {
		m.cell(i, st, stateCell{s.Transform, s.Name, false}, kept)
	}
	for _, t := range h.Timers {
		m.cell(i, st, stateCell{t.Transform, t.Family, true}, kept)
	}
	if h.TimeSorted {
		m.sorted(i, st)
	}
	return nil
}

func (m *matcher) cell(i int, st *stage, c stateCell, kept map[stateCell]*state.Survey) {
	name := st.plan.Transforms[c.transform]
	to, ok := m.ids[name]
	var why string
	if !ok || !m.plan.Stages[to.stage].Keyed {
		why = m.gone(name)
	} else if why = m.rekeyed(st.plan, m.plan.Stages[to.stage]); why == "" {
		why = m.changed(st.plan.Harness, m.plan.Stages[to.stage].Harness, c, to.id)
	}
	if why == "" {
		m.cells[c] = to.id
		m.states[[2]int{i, to.stage}] = true
		m.stages[i] = to.stage
	} else if s := kept[c]; s != nil && s.Entries > 0 {
		m.differ(name, "%s: %s, would be lost", why, describeSurvey(s))
	}
}

// rekeyed tells why keys and windows of one stage are not those of another.
func (m *matcher) rekeyed(was, is *translate.Stage) string {
	a, b := was.Inputs[0], is.Inputs[0]
	if k, l := m.was.KeyCoder(a.Coder), m.plan.KeyCoder(b.Coder); m.was.CoderText(k) != m.plan.CoderText(l) {
		return m.recoded("its keys", k, l)
	}
	if !translate.SameWindows(m.was, a.Windowing, m.plan, b.Windowing) {
		return "the window function of its input has changed"
	}
	return ""
}

// changed tells why a cell's content is not that of the new step's.
func (m *matcher) changed(was, is *translate.HarnessStage, c stateCell, id beam.TransformID) string {
	if c.timers {
		a := slices.IndexFunc(was.Timers, func(t translate.TimerSpec) bool { return t.Transform == c.transform && t.Family == c.name })
		b := slices.IndexFunc(is.Timers, func(t translate.TimerSpec) bool { return t.Transform == id && t.Family == c.name })
		switch {
		case b < 0:
			return "a timer was removed"
		case was.Timers[a].ProcessingTime != is.Timers[b].ProcessingTime:
			return "a timer is of the other time domain now"
		}
		return ""
	}
	a := slices.IndexFunc(was.States, func(s translate.StateSpec) bool { return s.Transform == c.transform && s.Name == c.name })
	b := slices.IndexFunc(is.States, func(s translate.StateSpec) bool { return s.Transform == id && s.Name == c.name })
	if b < 0 {
		return "a state was removed"
	}
	s, t := was.States[a], is.States[b]
	switch {
	case s.Kind != t.Kind:
		return fmt.Sprintf("a state that was a %s is a %s now", s.Kind, t.Kind)
	case m.was.CoderText(s.Coder) != m.plan.CoderText(t.Coder):
		return m.recoded("a state's values", s.Coder, t.Coder)
	case s.KeyCoder != t.KeyCoder && m.was.CoderText(s.KeyCoder) != m.plan.CoderText(t.KeyCoder):
		return m.recoded("a map state's keys", s.KeyCoder, t.KeyCoder)
	}
	return ""
}

// sorted is for elements that wait in a stage's state for their turn.
func (m *matcher) sorted(i int, st *stage) {
	for name := range maps.Values(st.plan.Transforms) {
		to, ok := m.ids[name]
		if !ok || m.stages[i] != to.stage {
			continue
		}
		is := m.plan.Stages[to.stage]
		if is.Harness != nil && is.Harness.TimeSorted && m.sameInput(st.plan.Inputs[0], is.Inputs[0]) {
			m.states[[2]int{i, to.stage}] = true
			return
		}
	}
	if m.snap.Stages[i].Hold < beam.MaxEventTime {
		m.differ(m.first(st), "its input is not sorted by time any more, or has another coder, and elements wait for their turn")
	}
}

// sameInput tells whether what waits for one input can be read at another.
func (m *matcher) sameInput(a, b translate.Collection) bool {
	return m.was.CoderText(a.Coder) == m.plan.CoderText(b.Coder) && translate.SameWindows(m.was, a.Windowing, m.plan, b.Windowing)
}

// first is the name of what a stage begins with, for people.
func (m *matcher) first(st *stage) string {
	name, _, _ := strings.Cut(m.name(st.plan), " + ")
	return name
}

// sideInputs lets what side inputs hold go on. What was of a step that is no more
// is needed by nobody.
func (m *matcher) sideInputs(i int, st *stage) {
	for a, s := range st.plan.Harness.SideInputs {
		name := st.plan.Transforms[s.Transform]
		to, ok := m.ids[name]
		if !ok || m.plan.Stages[to.stage].Harness == nil {
			continue
		}
		all := m.plan.Stages[to.stage].Harness.SideInputs
		b := slices.IndexFunc(all, func(n translate.SideInputSpec) bool { return n.Transform == to.id && n.Name == s.Name })
		switch {
		case b < 0:
		case all[b].Collection.Name == s.Collection.Name && all[b].Multimap == s.Multimap && m.sameInput(s.Collection, all[b].Collection) &&
			translate.SameWindowing(m.was, s.Collection.Windowing, m.plan, all[b].Collection.Windowing):
			m.sides[sideKey{i, a}] = sideKey{to.stage, b}
		default:
			m.recast[sideKey{to.stage, b}] = true
			m.differ(name, "its side input of %s is of %s now, or was given another coder, windowing or kind", s.Collection.Name, all[b].Collection.Name)
		}
	}
}

// newSides are side inputs that begin without what was in them before.
func (m *matcher) newSides() {
	known := maps.Clone(m.recast)
	for _, to := range m.sides {
		known[to] = true
	}
	for k, s := range m.plan.Stages {
		if s.Harness == nil {
			continue
		}
		for b, side := range s.Harness.SideInputs {
			producer := side.Collection.Name[:max(strings.LastIndexByte(side.Collection.Name, '.'), 0)]
			if !known[sideKey{k, b}] && m.before[producer] {
				m.differ(s.Transforms[side.Transform], "a side input of %s is new: of what was in it before nothing was kept", side.Collection.Name)
			}
		}
	}
}

// pending finds where what waits between steps goes on.
func (m *matcher) pending() error {
	waits := map[inputKey]int{}
	for _, p := range m.old.engine.Pending() {
		waits[inputKey{p.Stage, p.Input}] += p.Block.Count
	}
	for k, n := range waits {
		st := m.old.stages[k.stage]
		if k.input >= len(st.plan.Inputs) {
			return badNote("a block of an input that there is not")
		}
		to, why := m.targets(k, st)
		if m.blocks[k] = to; why != "" {
			m.differ(m.first(st), "%s, and %s of %s wait there: let the job come to a rest before (`fresnel jobs stop --savepoint`), or drain it",
				why, count(n, "element"), st.plan.Inputs[k.input].Name)
		}
	}
	return nil
}

// targets are the inputs where elements that wait for another go on.
func (m *matcher) targets(from inputKey, st *stage) (to []inputKey, why string) {
	was := st.plan.Inputs[from.input]
	for k, s := range m.plan.Stages {
		if s.Kind != st.plan.Kind || from.input >= len(s.Inputs) || !m.shares(st.plan, s) {
			continue
		}
		is := s.Inputs[from.input]
		switch {
		case s.Kind == translate.Harness && is.Name != was.Name, s.Kind == translate.Rewindow && is.Name != was.Name:
			continue // it comes behind the one that they wait for
		case s.Keyed != st.plan.Keyed || !m.sameInput(was, is):
			return nil, "its input is keyed, coded or windowed in another way"
		case m.foreign(st.plan, s):
			return nil, "it runs together with steps now that have had these elements"
		}
		to = append(to, inputKey{k, from.input})
	}
	if len(to) == 0 {
		return nil, m.gone(m.first(st))
	}
	return to, ""
}

// shares tells whether a stage runs a step that the other has.
func (m *matcher) shares(was, is *translate.Stage) bool {
	for _, name := range was.Transforms {
		for _, other := range is.Transforms {
			if name == other {
				return true
			}
		}
	}
	return false
}

// foreign tells whether a stage runs an old step that was not in the other.
func (m *matcher) foreign(was, is *translate.Stage) bool {
	own := map[string]bool{}
	for _, name := range was.Transforms {
		own[name] = true
	}
	for _, name := range is.Transforms {
		if m.before[name] && !own[name] {
			return true
		}
	}
	return false
}
