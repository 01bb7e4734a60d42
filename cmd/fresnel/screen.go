package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"unicode/utf8"
)

// screen is a terminal on which a few lines stay below all that is written.
type screen struct {
	terminal *os.File

	mu      sync.Mutex
	stays   []string
	drawn   []int // how long the lines are that are on the terminal now
	midLine bool  // what was written last did not end its line
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

// clear takes the lines off the terminal; the cursor is where they began. It may
// be in mid-line, behind the ^C of a Ctrl-C, and where the terminal has become
// narrower, it has folded the lines.
func (s *screen) clear() {
	columns, _, ok := terminalSize(s.terminal)
	if len(s.drawn) > 0 && ok && columns > 0 {
		fmt.Fprintf(s.terminal, "\r\x1b[%dA\x1b[J", folded(s.drawn, columns))
	}
	s.drawn = nil
}

// folded is how many lines of a terminal lines of these lengths take.
func folded(lengths []int, columns int) int {
	all := 0
	for _, n := range lengths {
		all += max(1, (n+columns-1)/columns)
	}
	return all
}

func (s *screen) draw() {
	columns, rows, ok := terminalSize(s.terminal)
	if !ok || columns < 20 || rows < 4 {
		return
	}
	lines := s.stays[:min(len(s.stays), rows/2)]
	for _, l := range lines {
		l = short(strings.ReplaceAll(l, "\n", " "), columns-1)
		fmt.Fprintf(s.terminal, "\x1b[2m%s\x1b[0m\n", l)
		s.drawn = append(s.drawn, utf8.RuneCountInString(l))
	}
}
