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
type windowMapping struct {
	ctx   context.Context
	aside *aside
	side  *coder.Coder // the side input's window coder

	mu    sync.Mutex
	known map[string]mappedWindow
}

// mappedWindow is an encoded window of a side input and its last instant.
type mappedWindow struct {
	raw string
	end beam.EventTime
}

// maxMapped bounds the answers that are remembered.
const maxMapped = 10_000

// newWindowMapping returns nil for a nil stage.
func (j *job) newWindowMapping(side translate.SideInputSpec) (*windowMapping, error) {
	a, err := j.newAside(side.MapWindows)
	if a == nil || err != nil {
		return nil, err
	}
	to, err := j.windowCoder(side.Collection.Windowing)
	return &windowMapping{ctx: j.ctx, aside: a, side: to, known: map[string]mappedWindow{}}, err
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
