package conformance

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// exclusion is a test that may fail.
type exclusion struct {
	id, reason string
	// sometimes: it may pass as well.
	sometimes bool
}

// readExclusions reads testdata/excluded.txt.
func readExclusions(t *testing.T) []exclusion {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "excluded.txt"))
	if err != nil {
		t.Fatal(err)
	}
	var list []exclusion
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		id, reason, ok := strings.Cut(line, ": ")
		reason, sometimes := strings.CutPrefix(reason, "sometimes, ")
		if !ok || reason == "" {
			t.Fatalf("excluded.txt: %q is not a test's id, a colon and a reason", line)
		}
		list = append(list, exclusion{id, reason, sometimes})
	}
	return list
}

// judge fails the test for each result that is not as the exclusions say.
func judge(t *testing.T, results []result, exclusions []exclusion) {
	t.Helper()
	if peer != "" {
		return
	}
	excluded := map[string]exclusion{}
	for _, e := range exclusions {
		excluded[e.id] = e
	}
	seen, passed := map[string]bool{}, 0
	for _, r := range results {
		e, ok := excluded[r.id]
		seen[r.id] = true
		switch {
		case r.skipped:
		case r.failed && ok:
			t.Logf("%s failed, as it may: %s", r.id, e.reason)
		case r.failed:
			t.Errorf("%s failed\n%s", r.id, tail(r.trace))
		case ok && !e.sometimes:
			t.Errorf("%s passed, but excluded.txt says that it fails: %s", r.id, e.reason)
		default:
			passed++
		}
	}
	if passed == 0 {
		t.Error("no test passed")
	}
	noteUnknown(t, seen, exclusions)
}

// noteUnknown reports exclusions of classes that ran for tests that did not.
func noteUnknown(t *testing.T, seen map[string]bool, exclusions []exclusion) {
	t.Helper()
	classes := map[string]bool{}
	for id := range seen {
		classes[class(id)] = true
	}
	for _, e := range exclusions {
		if classes[class(e.id)] && !seen[e.id] {
			t.Errorf("excluded.txt names %s, which there is not", e.id)
		}
	}
}

// class is the id of a test's class.
func class(id string) string { return id[:max(0, strings.LastIndexByte(id, '.'))] }
