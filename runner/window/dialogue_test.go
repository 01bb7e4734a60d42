package window

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the dialogues in testdata with what happens")

// TestDialogues plays the scripts in testdata. A script is lines of text, of
// which a command ends with a line "----" and is answered by the lines up to
// the next empty one; all else is comment. Times are seconds.
//
//	strategy window=fixed(10s) trigger=count(2) ...   a new shard; prints the strategy
//	add a=x@1 a=y@2                                   one block; prints the panes
//	watermark 10        now 5                         Advance; prints the panes
//	answer 0                                          answers a request for a merge
//	look                                              prints holds, times due, sizes
//	save                                              goes on with a restored shard
func TestDialogues(t *testing.T) {
	t.Parallel()
	scripts, _ := filepath.Glob("testdata/*.txt")
	if len(scripts) == 0 {
		t.Fatal("no scripts")
	}
	for _, path := range scripts {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			t.Parallel()
			play(t, path)
		})
	}
}

func play(t *testing.T, path string) {
	script, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var d *desk
	var played strings.Builder
	lines := strings.Split(strings.TrimSuffix(string(script), "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		fmt.Fprintln(&played, lines[i])
		if i+1 == len(lines) || lines[i+1] != "----" {
			continue
		}
		words := strings.Fields(lines[i])
		answer := command(&d, words[0], words[1:])
		fmt.Fprintf(&played, "----\n%s", answer)
		var want strings.Builder
		for i += 2; i < len(lines) && lines[i] != ""; i++ {
			fmt.Fprintln(&want, lines[i])
		}
		if i < len(lines) {
			fmt.Fprintln(&played)
		}
		if !*rewrite && want.String() != answer {
			t.Errorf("%s:%d: %s\ngot:\n%swant:\n%s", path, i, strings.Join(words, " "), answer, &want)
		}
	}
	if *rewrite {
		if err := os.WriteFile(path, []byte(played.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// command runs one command, and returns what it prints.
func command(d **desk, name string, args []string) string {
	if name == "strategy" {
		return begin(d, args)
	}
	var err error
	switch name {
	case "add":
		err = (*d).add(args...)
	case "watermark":
		(*d).wm = seconds(args[0])
		err = (*d).advance()
	case "now":
		s, _ := strconv.ParseFloat(args[0], 64)
		(*d).now = time.UnixMicro(int64(s * 1e6))
		err = (*d).advance()
	case "answer":
		i, _ := strconv.Atoi(args[0])
		err = (*d).answer(i)
	case "look":
		return (*d).look()
	case "save":
		(*d).shard, err = (*d).g.RestoreShard(stateOf((*d).shard))
	default:
		return "no such command\n"
	}
	if err != nil {
		return err.Error() + "\n"
	}
	return (*d).report()
}

// begin makes a desk of name=value words; values may have spaces.
func begin(d **desk, args []string) string {
	words, last := map[string]string{}, ""
	for _, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		if ok && !strings.ContainsAny(name, "()") && strings.Count(words[last], "(") == strings.Count(words[last], ")") {
			last, words[name] = name, value
		} else {
			words[last] += " " + arg
		}
	}
	compactAbove, _ := strconv.Atoi(words["compact-above"])
	*d = newDesk(Config{
		Strategy:     newStrategy(words),
		Bounded:      words["bounded"] == "true",
		Accumulators: compactAbove > 0,
		CompactAbove: compactAbove,
	})
	way := [...]string{"incremental", "append"}[bit((*d).g.appending)]
	return fmt.Sprintf("%s: %s\n", way, (*d).g.Strategy)
}

// report prints the panes and requests since the last report.
func (d *desk) report() string {
	var b strings.Builder
	for _, p := range d.take() {
		fmt.Fprintln(&b, p)
	}
	for i, r := range d.requests {
		fmt.Fprintf(&b, "request %d: merge %s %s [%s]\n", i, r.key, printWindow(r.window), strings.Join(r.values, " "))
	}
	if b.Len() == 0 {
		return "-\n"
	}
	return b.String()
}

// look prints what an engine would ask of the shard.
func (d *desk) look() string {
	var b strings.Builder
	fmt.Fprintf(&b, "hold %s", printTime(d.shard.Hold()))
	if wm, ok := d.shard.NextEventTime(); ok {
		fmt.Fprintf(&b, ", next watermark %s", printTime(wm))
	}
	if at, ok := d.shard.NextProcessingTime(); ok {
		fmt.Fprintf(&b, ", next time %g", float64(at.UnixMicro())/1e6)
	}
	late, closed := d.shard.Dropped()
	if late+closed > 0 {
		fmt.Fprintf(&b, ", dropped %d late, %d closed", late, closed)
	}
	if d.shard.Empty() {
		b.WriteString(", empty")
	}
	return b.String() + "\n"
}
