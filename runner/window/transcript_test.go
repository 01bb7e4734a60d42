package window

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"testing"

	"fresnel/internal/beam"
)

// transcript is one of Beam's trigger transcripts
// (apache_beam/testing/data/trigger_transcripts.yaml): inputs and watermarks,
// and the panes that each makes. Times are seconds.
type transcript struct {
	fields map[string]string
	steps  []step
}

type step struct {
	action string
	times  []int
	panes  []map[string]string
}

// notApplicable are the transcripts that a runner cannot be asked for.
var notApplicable = map[string]string{
	"timestamp_combiner_custom_timestamping_earliest": "OUTPUT_AT_EARLIEST_TRANSFORMED has no place in the pipeline proto",
}

func TestTranscripts(t *testing.T) {
	t.Parallel()
	path := findTranscripts()
	if path == "" {
		t.Skip("neither a Python SDK in .venv nor Beam's sources in the module cache")
	}
	all := readTranscripts(t, path)
	if len(all) < 15 {
		t.Fatalf("%s has %d transcripts", path, len(all))
	}
	for i, tr := range all {
		// Two of them have one name.
		t.Run(fmt.Sprintf("%s#%d", tr.fields["name"], i), func(t *testing.T) {
			t.Parallel()
			if why := notApplicable[tr.fields["name"]]; why != "" && strings.Contains(tr.fields["timestamp_combiner"], "TRANSFORMED") {
				t.Skip(why)
			}
			for _, blocks := range []string{"one block", "an element a block"} {
				err := tr.play(blocks == "one block")
				if wrong := tr.fields["error"] != ""; wrong != (err != nil) {
					t.Errorf("%s: want an error: %v, got %v", blocks, wrong, err)
				}
			}
		})
	}
}

func findTranscripts() string {
	const rel = "apache_beam/testing/data/trigger_transcripts.yaml"
	patterns := []string{"../../.venv/lib/python3*/site-packages/" + rel}
	if cache, err := exec.Command("go", "env", "GOMODCACHE").Output(); err == nil {
		patterns = append(patterns, filepath.Join(strings.TrimSpace(string(cache)), "github.com/apache/beam/sdks/v2@*/python", rel))
	}
	for _, p := range patterns {
		if found, _ := filepath.Glob(p); len(found) > 0 {
			return found[len(found)-1]
		}
	}
	return ""
}

var (
	comments   = regexp.MustCompile(`(?m)(^|\s)#.*$`)
	topField   = regexp.MustCompile(`(?m)^(\w+): *(.*)$`)
	actions    = regexp.MustCompile(`- +(input|watermark|clock|expect|state):`)
	numbers    = regexp.MustCompile(`-?\d+`)
	paneTexts  = regexp.MustCompile(`\{[^}]*\}`)
	paneFields = regexp.MustCompile(`(\w+): *(\[[^\]]*\]|\w+)`)
)

// readTranscripts reads as much of YAML as the file has.
func readTranscripts(t *testing.T, path string) []transcript {
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []transcript
	for doc := range strings.SplitSeq(string(text), "\n---") {
		head, body, ok := strings.Cut(comments.ReplaceAllString(doc, ""), "transcript:")
		if !ok {
			continue
		}
		tr := transcript{fields: map[string]string{}}
		for _, m := range topField.FindAllStringSubmatch(head, -1) {
			tr.fields[m[1]] = strings.TrimSpace(m[2])
		}
		at := actions.FindAllStringSubmatchIndex(body, -1)
		for i, m := range at {
			end := len(body)
			if i+1 < len(at) {
				end = at[i+1][0]
			}
			tr.steps = append(tr.steps, newStep(body[m[2]:m[3]], body[m[1]:end]))
		}
		all = append(all, tr)
	}
	return all
}

func newStep(action, body string) step {
	s := step{action: action}
	if action != "expect" {
		s.times = ints(body)
		return s
	}
	for _, text := range paneTexts.FindAllString(body, -1) {
		pane := map[string]string{}
		for _, m := range paneFields.FindAllStringSubmatch(text, -1) {
			pane[m[1]] = fmt.Sprint(m[2])
			if strings.HasPrefix(m[2], "[") {
				pane[m[1]] = fmt.Sprint(ints(m[2]))
			}
		}
		s.panes = append(s.panes, pane)
	}
	return s
}

func ints(s string) []int {
	all := []int{}
	for _, n := range numbers.FindAllString(s, -1) {
		v, _ := strconv.Atoi(n)
		all = append(all, v)
	}
	return all
}

// play plays the transcript, and returns the first difference.
func (tr transcript) play(oneBlock bool) error {
	d := newDesk(Config{Strategy: tr.strategy()})
	for _, s := range tr.steps {
		var got []emitted
		if s.action != "expect" {
			if got = d.take(); len(got) > 0 {
				return fmt.Errorf("unexpected: %v", got)
			}
		}
		switch s.action {
		case "input":
			d.input(s.times, oneBlock)
		case "watermark":
			d.wm = beam.EventTime(s.times[0]) * 1000
			_ = d.advance()
		case "expect":
			if err := match(d.take(), s.panes); err != nil {
				return err
			}
		}
	}
	if got := d.take(); len(got) > 0 {
		return fmt.Errorf("unexpected at the end: %v", got)
	}
	return nil
}

func (d *desk) input(times []int, oneBlock bool) {
	var words []string
	for _, at := range times {
		words = append(words, fmt.Sprintf("key=%d@%d", at, at))
	}
	if oneBlock {
		_ = d.add(words...)
		return
	}
	for _, w := range words {
		_ = d.add(w)
	}
}

// match finds each pane expected among those that came; what a pane expected
// does not say may be anything.
func match(got []emitted, want []map[string]string) error {
	if len(got) != len(want) {
		return fmt.Errorf("%d panes, want %d: %v", len(got), len(want), got)
	}
	for _, w := range want {
		i := 0
		for ; i < len(got) && !matches(got[i], w); i++ {
		}
		if i == len(got) {
			return fmt.Errorf("no %v among %v", w, got)
		}
		got = append(got[:i:i], got[i+1:]...)
	}
	return nil
}

func matches(e emitted, want map[string]string) bool {
	values := []int{}
	for _, v := range e.values {
		n, _ := strconv.Atoi(v)
		values = append(values, n)
	}
	sort.Ints(values)
	window := []int64{int64(e.window.Start) / 1000, int64(e.window.MaxTimestamp()) / 1000}
	has := map[string]string{
		"window":               fmt.Sprint(window),
		"values":               fmt.Sprint(values),
		"timestamp":            fmt.Sprint(int64(e.ts) / 1000),
		"index":                fmt.Sprint(e.pane.Index),
		"nonspeculative_index": fmt.Sprint(e.pane.NonSpeculative),
		"early":                fmt.Sprint(e.pane.Timing == beam.Early),
		"late":                 fmt.Sprint(e.pane.Timing == beam.Late),
		"final":                fmt.Sprint(e.pane.Last),
	}
	for name := range has {
		if _, ok := want[name]; !ok {
			delete(has, name)
		}
	}
	return reflect.DeepEqual(has, want)
}

var pythonCall = regexp.MustCompile(`^(\w+)\((.*)\)$`)

// strategy translates the transcript's Python to what desks read.
func (tr transcript) strategy() *Strategy {
	words := map[string]string{
		"sdk": "python", "closing": "always", "mode": "accumulating",
		"trigger": pythonTrigger(tr.fields["trigger_fn"]),
	}
	if m := pythonCall.FindStringSubmatch(tr.fields["window_fn"]); m != nil {
		name := map[string]string{"FixedWindows": "fixed", "CustomTimestampingFixedWindowsWindowFn": "fixed", "Sessions": "sessions"}[m[1]]
		words["window"] = fmt.Sprintf("%s(%ss)", name, m[2])
	}
	if mode := tr.fields["accumulation_mode"]; mode != "" {
		words["mode"] = mode
	}
	if late := tr.fields["allowed_lateness"]; late != "" {
		words["lateness"] = late + "s"
	}
	words["output"] = map[string]string{"OUTPUT_AT_EARLIEST": "earliest", "OUTPUT_AT_LATEST": "latest"}[tr.fields["timestamp_combiner"]]
	return newStrategy(words)
}

// pythonTrigger writes AfterWatermark(early=AfterCount(2)) as
// end-of-window(early=count(2)).
func pythonTrigger(s string) string {
	if s == "" || s == "Default" {
		return "default"
	}
	return strings.NewReplacer("AfterWatermark", "end-of-window", "AfterCount", "count").Replace(s)
}
