package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"fresnel/fnapi/boot/child"
)

// cause is why a job failed, in a line: of a traceback, whose stack is mostly
// Beam's, what was raised and the last place in the user's own files.
func cause(why string) string {
	what, words, spoke := strings.Cut(why, child.LastWords)
	if spoke && !strings.Contains(what, "\n") {
		return what + "; " + lastWord(words)
	}
	head, stack, found := strings.Cut(why, "Traceback (most recent call last):")
	if !found {
		return firstLine(why)
	}
	raised, element, place := readStack(stack)
	text := firstLine(head) + raised + element
	if place != "" {
		text += " (" + place + ")"
	}
	if strings.HasPrefix(raised, "ModuleNotFoundError") {
		text += "; --requirements_file, --setup_file and --extra_package bring packages to workers in processes"
	}
	return text
}

// lastWord is what a worker said before it ended, of its last lines: what it
// raised, or else the last line.
func lastWord(words string) string {
	words = strings.TrimSpace(strings.ReplaceAll(words, "\n"+child.Indent, "\n"))
	if at := strings.LastIndex(words, "Traceback (most recent call last):"); at >= 0 {
		return cause(words[at:])
	}
	return words[strings.LastIndex(words, "\n")+1:]
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimLeft(text, "\n"), "\n")
	return line
}

var (
	frame = regexp.MustCompile(`^ +File "(.*)", line (\d+), in (.*)$`)
	// whileRunning is what Beam adds to an exception; what failed is said before.
	whileRunning = regexp.MustCompile(` \[while running '.*'\]$`)
)

// elementNote and timerNote begin the note that a harness adds to an exception
// (see _elements.py in the Python package).
const (
	elementNote = "with the element "
	timerNote   = "with the timer "
)

// readStack returns the first line of what was raised last, the note of the
// element or timer that it was raised for, and the last frame that is the user's.
func readStack(stack string) (raised, element, place string) {
	inStack := false
	for line := range strings.Lines(stack) {
		line = strings.TrimRight(line, "\n")
		switch m := frame.FindStringSubmatch(line); {
		case m != nil:
			inStack = true
			if isUsers(m[1]) {
				place = fmt.Sprintf("%s, line %s, in %s", m[1], m[2], m[3])
			}
		case strings.HasPrefix(line, elementNote), strings.HasPrefix(line, timerNote):
			element = ", " + short(line, maxElement)
		case inStack && line != "" && !strings.HasPrefix(line, " "):
			raised, inStack = whileRunning.ReplaceAllString(line, ""), false
		}
	}
	return raised, element, place
}

// maxElement is how much of an element a line has room for.
const maxElement = 200

func isUsers(path string) bool {
	return !slices.ContainsFunc([]string{"apache_beam/", "site-packages/", "lib/python"}, func(part string) bool { return strings.Contains(path, part) })
}
