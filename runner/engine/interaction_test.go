package engine

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the answers of testdata/*.txt anew")

// TestInteraction plays the dialogues of testdata: a command, what comes with
// it, a line of dashes, and the engine's answer.
func TestInteraction(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no dialogues", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			playFile(t, file)
		})
	}
}

func playFile(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	d := &dialogue{now: time.Unix(1000, 0)}
	var out strings.Builder
	for _, part := range splitDialogue(string(text)) {
		if part.command == "" {
			out.WriteString(part.comment)
			continue
		}
		answer := d.play(part.command, part.body)
		if answer == "" {
			answer = "nothing\n"
		}
		out.WriteString(part.comment + part.source + "----\n" + answer)
		if !*update && answer != part.answer {
			t.Errorf("%s:%d: %s\ngot:\n%swant:\n%s", file, part.line, part.command, answer, part.answer)
		}
	}
	if *update {
		if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// turn is one command and its answer.
type turn struct {
	line            int
	comment, source string
	command         string
	body            []string
	answer          string
}

// splitDialogue cuts a file into turns. A turn ends with an empty line.
func splitDialogue(text string) []turn {
	var turns []turn
	var cur turn
	answering := false
	for n, line := range strings.SplitAfter(text, "\n") {
		bare := strings.TrimSpace(line)
		switch {
		case answering && bare == "", line == "":
			if cur.command != "" || cur.comment != "" {
				turns = append(turns, cur)
			}
			cur, answering = turn{comment: line}, false
		case answering:
			cur.answer += line
		case bare == "----":
			answering = true
		case cur.command == "" && (bare == "" || strings.HasPrefix(bare, "#")):
			cur.comment += line
		case cur.command == "":
			cur.command, cur.line, cur.source = bare, n+1, line
		default:
			cur.body = append(cur.body, bare)
			cur.source += line
		}
	}
	return turns
}
