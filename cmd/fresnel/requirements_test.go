package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestRequirementsAreWhatTheFilesAndPackagesSayThatTheyName: each change but the
// last ones makes others of them.
func TestRequirementsAreWhatTheFilesAndPackagesSayThatTheyName(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	put := func(name, text string) { write(t, dir, name, text, 0o644) }
	put("deploy/requirements.txt", "# what it needs\nnumpy==1 \\\n  ; python_version > '3'\n-r ../more.txt\n--constraint=limits.txt\n"+
		"./own[fast] ; python_version > '3'\nnamed @ file://"+dir+"/named\n-e ../edited\n-f links\nwheels/a-1.whl\n")
	for name, text := range map[string]string{
		"more.txt": "-r deeper/deepest.txt", "deeper/deepest.txt": "pandas", "deploy/limits.txt": "scipy<2",
		"deploy/own/setup.py": "", "deploy/own/own/code.py": "", "named/pyproject.toml": "", "edited/setup.py": "", "edited/code.py": "",
		"deploy/links/b-1.whl": "", "deploy/wheels/a-1.whl": "", "deploy/own/.git/x": "", "deploy/own/own/__pycache__/code.pyc": "", "deploy/numpy": "",
	} {
		put(name, text)
	}
	read := func() *requirements { return readRequirements(filepath.Join(dir, "deploy/requirements.txt")) }
	before := read()
	if !before.local || !slices.Contains(before.names, "pandas") || !slices.Equal(before.limits, []string{"scipy<2"}) {
		t.Errorf("%+v", before)
	}
	for _, name := range []string{"deeper/deepest.txt", "more.txt", "deploy/limits.txt", "deploy/own/own/code.py", "deploy/own/own/new.py", "named/pyproject.toml",
		"edited/setup.py", "deploy/links/b-1.whl", "deploy/links/c-1.whl", "deploy/wheels/a-1.whl", "deploy/requirements.txt"} {
		put(name, "other")
		after := read()
		if after.digest() == before.digest() {
			t.Errorf("a change of %s does not count", name)
		}
		if before = read(); before.digest() != after.digest() {
			t.Errorf("%s: the same is not the same", name)
		}
	}
	put("deploy/requirements.txt", "./own\n-e ../edited\n")
	before = read()
	for _, name := range []string{"edited/code.py", "deploy/own/.git/x", "deploy/own/own/__pycache__/code.pyc"} {
		put(name, "other")
		if read().digest() != before.digest() {
			t.Errorf("a change of %s counts", name)
		}
	}
	put("deploy/requirements.txt", "-r requirements.txt\nnumpy\n")
	if r := read(); r.local || strings.Join(r.names, " ") != "numpy" {
		t.Errorf("%+v", r)
	}
}
