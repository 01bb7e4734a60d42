package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
)

// screen is a terminal on which a few lines stay below all that is written.
type screen struct {
	terminal *os.File

	mu      sync.Mutex
	stays   []string
	drawn   int  // lines that are on the terminal now
	midLine bool // what was written last did not end its line
}

// show replaces the lines that stay.
func (s *screen) show(lines []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stays = lines
	if !s.midLine {
		s.clear()
		s.draw()
	}
}

// under is a writer to out, which is the same terminal.
func (s *screen) under(out io.Writer) io.Writer { return &aboveLines{s, out} }

type aboveLines struct {
	screen *screen
	out    io.Writer
}

func (a *aboveLines) Write(b []byte) (int, error) {
	s := a.screen
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
	n, err := a.out.Write(b)
	if s.midLine = !bytes.HasSuffix(b, []byte("\n")); !s.midLine {
		s.draw()
	}
	return n, err
}

// clear takes the lines off the terminal; the cursor is where they began.
func (s *screen) clear() {
	if s.drawn > 0 {
		fmt.Fprintf(s.terminal, "\x1b[%dA\x1b[J", s.drawn)
	}
	s.drawn = 0
}

func (s *screen) draw() {
	columns, rows, ok := terminalSize(s.terminal)
	if !ok || columns < 20 || rows < 4 {
		return
	}
	lines := s.stays[:min(len(s.stays), rows/2)]
	for _, l := range lines {
		fmt.Fprintf(s.terminal, "\x1b[2m%s\x1b[0m\n", short(strings.ReplaceAll(l, "\n", " "), columns-1))
	}
	s.drawn = len(lines)
}
