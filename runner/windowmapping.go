package runner

import (
	"context"
	"encoding/binary"
	"sync"

	"fresnel/internal/beam"
	"fresnel/internal/coder"
	"fresnel/translate"
)

// windowMapping maps the windows of a main input to those of a side input in the
// SDK (MAP_WINDOWS), and remembers the answers. Its methods may be called from
// anywhere but callbacks of a harness, which they may wait for.
//
// A mapping does not look back if no window is mapped to one that ends before it
// does, as with SDKs' own mapping, by the window's last instant. Whether it does is
// seen from the answers: as long as it does not, windows of the side input are
// forgotten when all main windows that are still to come end later.
type windowMapping struct {
	ctx        context.Context
	aside      *aside
	main, side *coder.Coder // of windows

	mu    sync.Mutex
	known map[string]mappedWindow
	// asked tells that there were answers, looksBack that one of them does; below
	// forgotten all side windows may be forgotten.
	asked, looksBack bool
	forgotten        beam.EventTime
}

// mappedWindow is an encoded window of a side input and its last instant.
type mappedWindow struct {
	raw string
	end beam.EventTime
}

// maxMapped bounds the answers that are remembered.
const maxMapped = 10_000

// newWindowMapping returns nil for a nil stage.
func (j *job) newWindowMapping(side translate.SideInputSpec, main *coder.Coder) (*windowMapping, error) {
	a, err := j.newAside(side.MapWindows)
	if a == nil || err != nil {
		return nil, err
	}
	to, err := j.windowCoder(side.Collection.Windowing)
	return &windowMapping{ctx: j.ctx, aside: a, main: main, side: to, known: map[string]mappedWindow{}, forgotten: beam.MinEventTime}, err
}

// forget tells that side windows which end before a time will be forgotten, unless
// the mapping may yet ask for them.
func (m *windowMapping) forget(before beam.EventTime) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.asked || m.looksBack {
		return false
	}
	m.forgotten = max(m.forgotten, before)
	return true
}

// judge looks at an answer: whether the mapping looks back, and to where something
// may have been forgotten. What comes for windows that have expired themselves is
// dropped.
func (m *windowMapping) judge(main string, to mappedWindow) error {
	end, err := m.main.MaxTimestamp([]byte(main))
	if err != nil {
		return err
	}
	m.asked = true
	if to.end >= end {
		return nil
	}
	m.looksBack = true
	if to.end < m.forgotten && end >= m.forgotten {
		return &beam.Error{Code: beam.Unsupported, Where: m.aside.stage.Name,
			What: "a window of the main input is mapped to one of the side input that ended before it and was forgotten, since no window before was mapped so",
			Cure: "map windows to those that end with them or later, or give the main input as much allowed lateness as the mapping looks back"}
	}
	return nil
}

// of returns the window that a main window is mapped to.
func (m *windowMapping) of(window []byte) (mappedWindow, error) {
	for {
		if to, ok := m.look(string(window)); ok {
			return to, nil
		}
		if err := m.learn([]string{string(window)}); err != nil {
			return mappedWindow{}, err
		}
	}
}

func (m *windowMapping) look(window string) (mappedWindow, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	to, ok := m.known[window]
	return to, ok
}

// learn asks for the windows that are not known, all at once.
func (m *windowMapping) learn(windows []string) error {
	var unknown []string
	var questions [][]byte
	for _, w := range windows {
		if _, ok := m.look(w); !ok {
			nonce := binary.AppendUvarint(nil, uint64(len(unknown)))
			questions = append(questions, append(coder.AppendLengthPrefixed(nil, nonce), w...))
			unknown = append(unknown, w)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	answers, err := m.aside.askAll(m.ctx, questions)
	if err != nil {
		return err
	}
	mapped, err := m.read(answers, len(unknown))
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.known) > maxMapped {
		clear(m.known)
	}
	for i, to := range mapped {
		if err := m.judge(unknown[i], to); err != nil {
			return err
		}
		m.known[unknown[i]] = to
	}
	return nil
}

// read reads an answer KV<nonce, window> to each of n questions, in any order.
func (m *windowMapping) read(answers [][]byte, n int) ([]mappedWindow, error) {
	all, told := make([]mappedWindow, n), 0
	for _, answer := range answers {
		key, window, err := m.aside.out.Value().SplitKV(answer)
		if err != nil {
			return nil, err
		}
		nonce, _, err := coder.DecodeLengthPrefixed(key)
		if err != nil {
			return nil, err
		}
		i, size := binary.Uvarint(nonce)
		if size <= 0 || i >= uint64(n) || all[i].raw != "" {
			return nil, m.aside.badAnswer(nil)
		}
		all[i].raw = string(window)
		if all[i].end, err = m.side.MaxTimestamp(window); err != nil {
			return nil, err
		}
		told++
	}
	if told < n {
		return nil, m.aside.badAnswer(nil)
	}
	return all, nil
}
