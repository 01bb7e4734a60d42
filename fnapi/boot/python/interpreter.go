// Package python finds Python interpreters, and makes virtual environments
// that are kept by what is in them, for harnesses (boot) and for the programs
// that `fresnel run` runs.
//
//	interpreter.go   what an interpreter has; which one is wanted
//	specifier.go     versions that a project is for
//	venv.go          a recipe → a virtual environment, made once, offline then
//	lock_unix.go     one maker, many users
package python

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// BeamVersion is the release of Beam that an environment gets where nobody
// asked for another one: the one that Fresnel is tested with.
const BeamVersion = "2.77.0"

// Interpreter is a Python.
type Interpreter struct {
	// Path is what to run.
	Path string `json:"path"`
	// Version is Python's, as "3.11"; Beam is apache-beam's, as "2.77.0", empty if
	// it has none.
	Version string `json:"version"`
	Beam    string `json:"beam"`
	// Release is Python's whole version, as "3.11.4".
	Release string `json:"release"`
	// Sites are its directories of installed packages.
	Sites []string `json:"sites"`
}

// describe is quick: it does not import Beam.
const describe = `
import importlib.metadata, json, site, sys
try:
    beam = importlib.metadata.version('apache-beam')
except importlib.metadata.PackageNotFoundError:
    beam = ''
sites = list(site.getsitepackages())
if site.ENABLE_USER_SITE:
    sites.append(site.getusersitepackages())
print(json.dumps(dict(
    path=sys.executable, version='%d.%d' % sys.version_info[:2], release='%d.%d.%d' % sys.version_info[:3], beam=beam, sites=sites)))
`

// Wanted are the versions that a pipeline was made with; empty ones are not
// known. What it pickled loads in the same ones only.
type Wanted struct{ Python, Beam string }

func (w Wanted) fits(i Interpreter) bool {
	return (w.Python == "" || w.Python == i.Version) && (w.Beam == "" || w.Beam == i.Beam)
}

func (w Wanted) String() string { return fmt.Sprintf("Python %s, apache-beam %s", w.Python, w.Beam) }

// Choice is an interpreter, and what has to be installed beside it first.
type Choice struct {
	Interpreter
	// Install is a requirement that a virtual environment on the interpreter
	// needs, empty if it is ready.
	Install string
	// Differs tells that it is not what was wanted.
	Differs bool
}

// Choose returns the interpreter that was asked for; or else, of FRESNEL_PYTHON,
// the active virtual environment's, python3 and python, the first with the
// wanted versions; or else one of the wanted version of Python, to get the
// wanted Beam; or else the first that has any Beam.
func Choose(ctx context.Context, asked string, want Wanted) (Choice, error) {
	if asked == "" {
		asked = os.Getenv("FRESNEL_PYTHON")
	}
	if asked != "" {
		i, err := withBeam(ctx, asked)
		if err != nil {
			err = fmt.Errorf("the Python that was named for workers cannot run them: %w; name one that has apache-beam in FRESNEL_PYTHON "+
				"(for PROCESS also in \"env\" of --environment_config), or none, and it is looked for", err)
		}
		return Choice{Interpreter: i, Differs: !want.fits(i)}, err
	}
	found, tried := search(ctx, candidates())
	if at := slices.IndexFunc(found, want.fits); at >= 0 {
		return Choice{Interpreter: found[at]}, nil
	}
	if base, ok := bare(ctx, want.Python); ok && want.Beam != "" {
		base.Beam = want.Beam
		return Choice{Interpreter: base, Install: "apache-beam==" + want.Beam}, nil
	}
	if len(found) > 0 {
		return Choice{Interpreter: found[0], Differs: true}, nil
	}
	return Choice{}, fmt.Errorf("no Python with apache-beam was found (%s): activate its virtual environment before fresnel is started, "+
		"or name it in FRESNEL_PYTHON or with --python", strings.Join(tried, "; "))
}

// search returns those of the candidates that have Beam, and why the others
// are none.
func search(ctx context.Context, candidates []string) (found []Interpreter, tried []string) {
	for _, path := range candidates {
		i, err := withBeam(ctx, path)
		if err != nil {
			tried = append(tried, err.Error())
			continue
		}
		found = append(found, i)
	}
	return found, tried
}

// bare finds a Python of this version, whatever it has.
func bare(ctx context.Context, version string) (Interpreter, bool) {
	if version == "" {
		return Interpreter{}, false
	}
	for _, path := range append([]string{"python" + version}, candidates()...) {
		if i, err := Inspect(ctx, path); err == nil && i.Version == version {
			return i, true
		}
	}
	return Interpreter{}, false
}

// Bare finds a Python that Beam can be installed for, and that fits what a project
// requires of it: python3 if it will do, or else the newest.
func Bare(ctx context.Context, requires string) (Interpreter, error) {
	var tried []string
	for _, path := range []string{"python3", "python3.13", "python3.12", "python3.11", "python3.10", "python3.14", "python"} {
		i, err := Inspect(ctx, path)
		switch {
		case err != nil:
			tried = append(tried, err.Error())
		case !slices.Contains(Supported, i.Version) || !i.Fits(requires):
			tried = append(tried, fmt.Sprintf("%s is Python %s", path, cmp.Or(i.Release, i.Version)))
		default:
			return i, nil
		}
	}
	also := ""
	if requires != "" {
		also = " and that is " + requires
	}
	return Interpreter{}, fmt.Errorf("no Python that apache-beam %s supports (%s)%s was found: %s; install one, or name it with --python",
		BeamVersion, strings.Join(Supported, ", "), also, strings.Join(tried, "; "))
}

// Supported are the versions of Python that BeamVersion is made for.
var Supported = []string{"3.10", "3.11", "3.12", "3.13", "3.14"}

func candidates() []string {
	var all []string
	if venv := os.Getenv("VIRTUAL_ENV"); venv != "" {
		all = append(all, filepath.Join(venv, "bin", "python"))
	}
	return append(all, "python3", "python")
}

// withBeam inspects an interpreter that has to have Beam.
func withBeam(ctx context.Context, path string) (Interpreter, error) {
	i, err := Inspect(ctx, path)
	if err == nil && i.Beam == "" {
		err = fmt.Errorf("%s (Python %s) has no apache-beam", path, i.Version)
	}
	return i, err
}

// inspectPatience is generous: disks can be cold.
const inspectPatience = time.Minute

// Inspect asks an interpreter what it has.
func Inspect(ctx context.Context, path string) (Interpreter, error) {
	ctx, cancel := context.WithTimeout(ctx, inspectPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "-c", describe)
	cmd.Env = Environ()
	out, err := cmd.Output()
	if err != nil {
		return Interpreter{}, fmt.Errorf("%s: %w%s", path, err, lastWords(err))
	}
	var i Interpreter
	if err := json.Unmarshal(out, &i); err != nil {
		return i, fmt.Errorf("%s does not answer as a Python: %w", path, err)
	}
	return i, nil
}

func lastWords(err error) string {
	var exit *exec.ExitError
	if !errors.As(err, &exit) || len(exit.Stderr) == 0 {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(exit.Stderr)), "\n")
	return ": " + lines[len(lines)-1]
}

// Environ is our own environment without what would make a Python take itself
// for another one.
func Environ() []string {
	var all []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "PYTHONHOME=") {
			all = append(all, e)
		}
	}
	return all
}
