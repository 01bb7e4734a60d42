package boot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"fresnel/fnapi/boot/child"
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
	dir          string // the staged files, a source of packages too
	requirements []string
	packages     []string // file names
	hash         string
}

func (n needs) none() bool { return len(n.requirements)+len(n.packages) == 0 }

// dependencies sorts the staged files: the packages in the order in which they
// are to be installed.
func dependencies(files []file, dir string) needs {
	n := needs{dir: dir}
	byName := make(map[string]bool)
	hash := sha256.New()
	for _, f := range files {
		byName[f.name] = true
		fmt.Fprintf(hash, "%s %s\n", f.name, f.sha256)
		if f.requirements || f.name == requirementsFile {
			n.requirements = append(n.requirements, f.name)
		}
	}
	if byName[sdkFile] {
		n.packages = append(n.packages, sdkFile)
	}
	if byName[extraPackagesFile] {
		n.packages = append(n.packages, listed(filepath.Join(dir, extraPackagesFile))...)
	}
	if byName[workflowFile] {
		n.packages = append(n.packages, workflowFile)
	}
	n.hash = hex.EncodeToString(hash.Sum(nil))
	return n
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

// with is an interpreter that has what is needed besides what i has: i itself
// if there is nothing, or a virtual environment that is kept for the next
// worker with the same needs.
func (i Interpreter) with(ctx context.Context, n needs, say func(string)) (Interpreter, error) {
	if n.none() {
		return i, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	key := sha256.Sum256([]byte(i.Path + "\n" + i.Version + "\n" + i.Beam + "\n" + n.hash))
	v := venv{dir: filepath.Join(cache, "fresnel", "venvs", hex.EncodeToString(key[:16])), print: say}
	if err := os.MkdirAll(filepath.Dir(v.dir), 0o700); err != nil {
		return i, err
	}
	unlock, err := lock(ctx, v.dir+".lock")
	if err != nil {
		return i, err
	}
	defer unlock()
	if !v.ready() {
		if err := v.make(ctx, i, n); err != nil {
			return i, err
		}
	}
	i.Path = v.python()
	return i, nil
}

// venv is a virtual environment on top of another interpreter's packages.
type venv struct {
	dir   string
	print func(string)
}

func (v venv) python() string { return filepath.Join(v.dir, "bin", "python") }
func (v venv) done() string   { return filepath.Join(v.dir, "fresnel-ready") }

func (v venv) ready() bool {
	_, err := os.Stat(v.done())
	return err == nil
}

// make builds the environment from nothing: one that was left half-made is not
// trusted.
func (v venv) make(ctx context.Context, base Interpreter, n needs) error {
	if err := os.RemoveAll(v.dir); err != nil {
		return err
	}
	if err := v.found(ctx, base); err != nil {
		return fmt.Errorf("cannot make a virtual environment (Debian has it in the package python3-venv): %w", err)
	}
	for _, r := range n.requirements {
		if err := v.require(ctx, n.dir, r); err != nil {
			return err
		}
	}
	for _, p := range n.packages {
		if err := v.pip(ctx, "--find-links", n.dir, filepath.Join(n.dir, p)); err != nil {
			return err
		}
	}
	return os.WriteFile(v.done(), nil, 0o600)
}

// found makes an environment without packages of its own. The base's pip is
// used, if it has one, since installing another takes seconds.
func (v venv) found(ctx context.Context, base Interpreter) error {
	if err := v.run(ctx, base.Path, "-m", "venv", "--without-pip", v.dir); err != nil {
		return err
	}
	if err := v.inherit(base); err != nil {
		return err
	}
	if v.run(ctx, v.python(), "-m", "pip", "--version") == nil {
		return nil
	}
	return v.run(ctx, v.python(), "-m", "ensurepip")
}

// inherit lets the environment see the packages of base behind its own.
// --system-site-packages would not: of a base that is a virtual environment
// itself it takes the packages of the system.
func (v venv) inherit(base Interpreter) error {
	sites := filepath.Join(v.dir, "lib", "python"+base.Version, "site-packages")
	return os.WriteFile(filepath.Join(sites, "fresnel-base.pth"), []byte(strings.Join(base.Sites, "\n")+"\n"), 0o600)
}

// require installs a requirements file: from the staged files alone if that
// can be, so that a job with a requirements cache needs no network.
func (v venv) require(ctx context.Context, dir, name string) error {
	from := []string{"--find-links", dir, "-r", filepath.Join(dir, name)}
	if v.pip(ctx, append([]string{"--no-index"}, from...)...) == nil {
		return nil
	}
	v.say("not all of " + name + " is among the staged files: asking the package index")
	return v.pip(ctx, from...)
}

func (v venv) pip(ctx context.Context, args ...string) error {
	return v.run(ctx, v.python(), append([]string{"-m", "pip", "install", "--disable-pip-version-check", "--no-input"}, args...)...)
}

func (v venv) say(line string) {
	if v.print != nil {
		v.print(line)
	}
}

// run runs a program to its end.
func (v venv) run(ctx context.Context, path string, args ...string) error {
	var tail child.Tail
	p, err := child.Start(child.Spec{Path: path, Args: args, Env: harnessEnviron(), Line: func(line string) {
		tail.Add(line)
		v.say(line)
	}})
	if err != nil {
		return err
	}
	select {
	case <-p.Done():
	case <-ctx.Done():
		p.Stop(stopGrace)
		return ctx.Err()
	}
	if p.Err() != nil {
		return fmt.Errorf("%s: %s", strings.Join(append([]string{path}, args...), " "), tail.Describe(p.Err()))
	}
	return nil
}
