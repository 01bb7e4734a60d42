package boot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Interpreter is a Python that has Beam.
type Interpreter struct {
	// Path is what to run.
	Path string `json:"path"`
	// Version is Python's, as "3.11"; Beam is apache-beam's, as "2.77.0".
	Version string `json:"version"`
	Beam    string `json:"beam"`
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
    path=sys.executable, version='%d.%d' % sys.version_info[:2], beam=beam, sites=sites)))
`

// asked is the interpreter that the user named: on the command line, in the
// environment, or in the pipeline options as fresnel_python.
func asked(flag string, options map[string]any) string {
	if flag != "" {
		return flag
	}
	if env := os.Getenv("FRESNEL_PYTHON"); env != "" {
		return env
	}
	for _, name := range []string{"beam:option:fresnel_python:v1", "fresnel_python"} {
		if s, ok := options[name].(string); ok && s != "" {
			return s
		}
	}
	return ""
}

// FindPython returns the interpreter that was asked for, or else the first one
// that has Beam: FRESNEL_PYTHON, that of the active virtual environment,
// python3, python.
func FindPython(ctx context.Context, asked string) (Interpreter, error) {
	if asked == "" {
		asked = os.Getenv("FRESNEL_PYTHON")
	}
	if asked != "" {
		return inspect(ctx, asked)
	}
	var tried []string
	for _, path := range candidates() {
		i, err := inspect(ctx, path)
		if err == nil {
			return i, nil
		}
		tried = append(tried, err.Error())
	}
	return Interpreter{}, fmt.Errorf("no Python with apache-beam was found (%s): activate its virtual environment before fresnel is started, "+
		"or name it in FRESNEL_PYTHON or with --python", strings.Join(tried, "; "))
}

func candidates() []string {
	var all []string
	if venv := os.Getenv("VIRTUAL_ENV"); venv != "" {
		all = append(all, filepath.Join(venv, "bin", "python"))
	}
	return append(all, "python3", "python")
}

// inspectPatience is generous: disks can be cold.
const inspectPatience = time.Minute

func inspect(ctx context.Context, path string) (Interpreter, error) {
	ctx, cancel := context.WithTimeout(ctx, inspectPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "-c", describe)
	cmd.Env = harnessEnviron()
	out, err := cmd.Output()
	if err != nil {
		return Interpreter{}, fmt.Errorf("%s: %w%s", path, err, lastWords(err))
	}
	var i Interpreter
	if err := json.Unmarshal(out, &i); err != nil {
		return i, fmt.Errorf("%s does not answer as a Python: %w", path, err)
	}
	if i.Beam == "" {
		return i, fmt.Errorf("%s (Python %s) has no apache-beam", path, i.Version)
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

// harnessEnviron is our own environment without what would make a Python take
// itself for another one.
func harnessEnviron() []string {
	var all []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "PYTHONHOME=") {
			all = append(all, e)
		}
	}
	return all
}
