package boot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"fresnel/fnapi/boot/python"
)

// Files that Beam's Python client stages under fixed names (stager.py).
const (
	requirementsFile  = "requirements.txt"
	extraPackagesFile = "extra_packages.txt"
	workflowFile      = "workflow.tar.gz"
	sdkFile           = "dataflow_python_sdk.tar"
)

// needs is what the job has to be installed.
type needs struct {
	dir          string   // the staged files, a source of packages too
	sdk          []string // Beam itself: a wheel, a source archive
	requirements []string
	packages     []string // the user's own: they replace what is there
	hash         string
}

func (n needs) none() bool { return len(n.sdk)+len(n.requirements)+len(n.packages) == 0 }

// dependencies sorts the staged files: the packages in the order in which they
// are to be installed.
func dependencies(files []file, dir string) needs {
	n := needs{dir: dir}
	byName := make(map[string]bool)
	for _, f := range files {
		byName[f.name] = true
		if f.requirements || f.name == requirementsFile {
			n.requirements = append(n.requirements, f.name)
		}
		if strings.HasPrefix(f.name, "apache_beam-") && strings.HasSuffix(f.name, ".whl") {
			n.sdk = append(n.sdk, f.name)
		}
	}
	if byName[sdkFile] {
		n.sdk = append(n.sdk, sdkFile)
	}
	if byName[extraPackagesFile] {
		n.packages = append(n.packages, listed(filepath.Join(dir, extraPackagesFile))...)
	}
	if byName[workflowFile] {
		n.packages = append(n.packages, workflowFile)
	}
	n.hash = n.digest(files)
	return n
}

// digest covers what is installed or can be. What else is staged, a main
// session above all, differs from job to job and has no part in it.
func (n needs) digest(files []file) string {
	var lines []string
	for _, f := range files {
		if slices.Contains(n.requirements, f.name) || isPackage(f.name) {
			lines = append(lines, f.name+" "+contentDigest(filepath.Join(n.dir, f.name), f.sha256))
		}
	}
	slices.Sort(lines)
	sum := sha256.Sum256([]byte(strings.Join(append(lines, n.packages...), "\n")))
	return hex.EncodeToString(sum[:])
}

func isPackage(name string) bool {
	return slices.ContainsFunc([]string{".whl", ".tar.gz", ".tar", ".zip", ".tgz"}, func(end string) bool { return strings.HasSuffix(name, end) })
}

// listed are the file names in a list, one a line.
func listed(path string) []string {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	var names []string
	for line := range strings.SplitSeq(string(text), "\n") {
		if name := strings.TrimSpace(line); name != "" && filepath.IsLocal(name) {
			names = append(names, name)
		}
	}
	return names
}

// install returns an interpreter that has what is needed besides what i has: i
// itself if there is nothing.
func (n needs) install(ctx context.Context, i python.Interpreter, say func(string)) (python.Environment, error) {
	if n.none() {
		return python.Environment{Interpreter: i, Release: func() {}}, nil
	}
	return python.Recipe{Base: i, Inherit: true, Key: n.hash, Steps: n.steps()}.Make(ctx, say)
}

func (n needs) steps() []python.Step {
	var steps []python.Step
	if len(n.sdk) > 0 {
		steps = append(steps, n.archive(n.sdk[0])...)
	}
	for _, r := range n.requirements {
		steps = append(steps, n.require(r))
	}
	for _, p := range n.packages {
		steps = append(steps, n.archive(p)...)
	}
	return steps
}

// require installs a requirements file: from the staged files alone if that
// can be, so that a job with a requirements cache needs no network.
func (n needs) require(name string) python.Step {
	from := []string{"--find-links", n.dir, "-r", filepath.Join(n.dir, name)}
	return python.Step{What: fmt.Sprintf("%s, from the staged files alone", name),
		Tries: [][]string{append([]string{"--no-index"}, from...), from}}
}

// archive installs a package of the user's own, whatever version of it is there
// already, and then what it depends on. Building it with what the environment
// has needs no network; a package may need other tools than are there.
func (n needs) archive(name string) []python.Step {
	path := filepath.Join(n.dir, name)
	forced := []string{"--upgrade", "--force-reinstall", "--no-deps", path}
	rest := []string{"--find-links", n.dir, path}
	here := "--no-build-isolation"
	return []python.Step{
		{What: name + ", built with what is installed", Tries: [][]string{append([]string{here}, forced...), forced}},
		{What: "what " + name + " depends on", Tries: [][]string{append([]string{here}, rest...), rest}},
	}
}
