package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"fresnel/fnapi/boot/python"
)

const defaultPython = "FRESNEL_PYTHON, the active virtual environment's, that of .venv, one made from requirements.txt or pyproject.toml, python3"

// firstPython is the interpreter that would be used if it had Beam.
func firstPython(asked string) string {
	for _, path := range []string{asked, os.Getenv("FRESNEL_PYTHON"), pythonOf(os.Getenv("VIRTUAL_ENV")), pythonOf(".venv")} {
		if path != "" {
			return path
		}
	}
	return "python3"
}

// pythonOf returns the interpreter of a virtual environment, if it has one.
func pythonOf(venv string) string {
	path, err := filepath.Abs(filepath.Join(venv, "bin", "python"))
	if _, missing := os.Stat(path); venv == "" || err != nil || missing != nil {
		return ""
	}
	return path
}

// findPython finds or makes the environment that a program runs in. The one that
// was asked for is taken as it is. Others have to have Beam: a virtual
// environment that is active, or lies beside the program or here; what the
// program's requirements say; python3. Where nothing has it, an environment
// with Beam alone is made.
func (p program) findPython(ctx context.Context, asked string, say func(string)) (python.Environment, error) {
	if asked == "" {
		asked = os.Getenv("FRESNEL_PYTHON")
	}
	if asked != "" {
		return p.complete(ctx, asked, say)
	}
	for _, path := range []string{pythonOf(os.Getenv("VIRTUAL_ENV")), pythonOf(filepath.Join(p.dir, ".venv")), pythonOf(".venv")} {
		if path == "" {
			continue
		}
		if hasBeam(path) {
			return p.complete(ctx, path, say)
		}
		say(path + " has no apache-beam: it is passed over")
	}
	p.python3, _ = python.Inspect(ctx, "python3") // without it, others are looked for
	recipe, err := p.recipe(ctx)
	if err != nil {
		return python.Environment{}, environmentError{err}
	}
	if recipe == nil {
		if p.python3.Beam != "" {
			return p.complete(ctx, p.python3.Path, say)
		}
		if recipe, err = p.plain(ctx); err != nil {
			return python.Environment{}, environmentError{err}
		}
	}
	return made(ctx, *recipe, say)
}

// complete is an environment that is there; or one on top of it where it has no
// more than Beam, and a pipeline in YAML needs more.
func (p program) complete(ctx context.Context, path string, say func(string)) (python.Environment, error) {
	there := python.Environment{Interpreter: python.Interpreter{Path: path}, Release: func() {}}
	if p.extra == "" || exec.CommandContext(ctx, path, "-c", "import jinja2, jsonschema").Run() == nil {
		return there, nil
	}
	base, err := python.Inspect(ctx, path)
	if err != nil {
		return there, environmentError{err}
	}
	need := "apache-beam[" + p.extra + "]==" + base.Beam
	return made(ctx, python.Recipe{Base: base, Inherit: true, Key: need, Steps: []python.Step{{What: need, Tries: [][]string{{need}}}}}, say)
}

func made(ctx context.Context, r python.Recipe, say func(string)) (python.Environment, error) {
	if !r.Ready() {
		say(fmt.Sprintf("making a virtual environment on Python %s with %s, for this time and later ones ...", r.Base.Version, r.Steps[0].What))
	}
	env, err := r.Make(ctx, func(line string) {
		if telling.MatchString(line) {
			say(line)
		}
	})
	if err != nil {
		return env, environmentError{fmt.Errorf("cannot make the program's virtual environment: %w", err)}
	}
	return env, nil
}

// telling finds the few of pip's lines that tell a reader how far it is.
var telling = regexp.MustCompile(`^(Installing collected|Successfully|ERROR|error|.*Building wheel|another worker|.*trying another)`)

// hasBeam looks for Beam's files, which is quick, and asks the interpreter only
// where they are not in the usual place.
func hasBeam(path string) bool {
	found, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "..", "lib", "python3*", "site-packages", "apache_beam", "version.py"))
	if len(found) > 0 {
		return true
	}
	i, err := python.Inspect(context.Background(), path)
	return err == nil && i.Beam != ""
}

// plain is an environment with Beam alone.
func (p program) plain(ctx context.Context) (*python.Recipe, error) {
	return p.standalone(ctx, p.beam(), "", nil, []string{p.beam()})
}

// beam is the requirement for Beam where the user has none.
func (p program) beam() string {
	if p.extra != "" {
		return "apache-beam[" + p.extra + "]==" + python.BeamVersion
	}
	return "apache-beam==" + python.BeamVersion
}

// bare is a Python that Beam can be installed for. Where python3 is a script that
// finds the Python to run, as pyenv's is, to ask it again takes a noticeable time.
// requires is what the program's project says of it, as in requires-python.
func (p program) bare(ctx context.Context, requires string) (python.Interpreter, error) {
	if slices.Contains(python.Supported, p.python3.Version) && p.python3.Fits(requires) {
		return p.python3, nil
	}
	return python.Bare(ctx, requires)
}

// standalone installs requirements into an environment on a Python that the
// program admits. r has what they name, nil where they name nothing.
func (p program) standalone(ctx context.Context, what, requires string, r *requirements, install []string) (*python.Recipe, error) {
	base, err := p.bare(ctx, requires)
	if err != nil {
		return nil, err
	}
	recipe := &python.Recipe{Base: base, Key: strings.Join(install, "\n"), Steps: []python.Step{{What: what, Tries: [][]string{install}}}}
	if r != nil {
		recipe.Key, recipe.Dir = r.digest()+recipe.Key, r.dir
	}
	return recipe, nil
}

// recipe reads the requirements beside the program; nil if there are none.
func (p program) recipe(ctx context.Context) (*python.Recipe, error) {
	file := filepath.Join(p.dir, "requirements.txt")
	if _, err := os.Stat(file); err == nil {
		return p.fromRequirements(ctx, file)
	}
	file = filepath.Join(p.dir, "pyproject.toml")
	if _, err := os.Stat(file); err == nil {
		return p.fromProject(ctx, file)
	}
	return nil, nil
}

// namesBeam finds a requirement for Beam.
var namesBeam = regexp.MustCompile(`(?mi)^\s*apache[-_.]beam\b`)

func (p program) fromRequirements(ctx context.Context, file string) (*python.Recipe, error) {
	path, err := filepath.Abs(file)
	if err != nil {
		return nil, err
	}
	r := readRequirements(path)
	return p.standalone(ctx, "what "+file+" says", "", r, append([]string{"-r", path}, p.beamBeside(r)...))
}

// beamBeside is the requirement for Beam beside others, if it needs one. Where
// these may have the word on its version, it has none of its own.
func (p program) beamBeside(r *requirements) []string {
	names := func(lines []string) bool { return slices.ContainsFunc(lines, namesBeam.MatchString) }
	switch {
	case names(r.names) && p.extra == "":
		return nil
	case names(r.names) || names(r.limits):
		return []string{strings.TrimSuffix(p.beam(), "=="+python.BeamVersion)}
	case r.local:
		return []string{strings.Replace(p.beam(), "==", "<=", 1)}
	}
	return []string{p.beam()}
}

// readProject prints what a project depends on, and the Pythons that it is for,
// with the reader of TOML that every Python with pip has.
const readProject = `
import json, sys
try:
    import tomllib
except ImportError:
    from pip._vendor import tomli as tomllib
with open(sys.argv[1], 'rb') as f:
    project = tomllib.load(f).get('project')
if project is None:
    sys.exit('it has no [project] table')
if 'dependencies' in project.get('dynamic', []):
    sys.exit('they are dynamic: another file or program has them')
print(json.dumps({'dependencies': project.get('dependencies', []), 'requires': project.get('requires-python', '')}))
`

// project is what a pyproject.toml says.
type project struct {
	Dependencies []string `json:"dependencies"`
	Requires     string   `json:"requires"` // of Python
}

// fromProject installs what a project depends on, not the project itself: its
// modules are beside the program, and change.
func (p program) fromProject(ctx context.Context, file string) (*python.Recipe, error) {
	path, err := filepath.Abs(file)
	if err != nil {
		return nil, err
	}
	needs, err := p.readProject(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the dependencies in %s: %w (name an environment with --python, or list them in requirements.txt)", file, err)
	}
	r := newRequirements(filepath.Dir(path))
	for _, d := range needs.Dependencies {
		r.line(r.dir, d, false)
	}
	recipe, err := p.standalone(ctx, "what "+file+" depends on", needs.Requires, r, append(slices.Clone(needs.Dependencies), p.beamBeside(r)...))
	if err != nil && needs.Requires != "" {
		err = fmt.Errorf("%s says requires-python = %q: %w", file, needs.Requires, err)
	}
	return recipe, err
}

func (p program) readProject(ctx context.Context, path string) (needs project, err error) {
	reader, err := p.bare(ctx, "")
	if err != nil {
		return needs, err
	}
	out, err := exec.CommandContext(ctx, reader.Path, "-c", readProject, path).Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		lines := strings.Split(strings.TrimSpace(string(exit.Stderr)), "\n")
		return needs, errors.New(lines[len(lines)-1])
	}
	if err != nil {
		return needs, err
	}
	return needs, json.Unmarshal(out, &needs)
}
