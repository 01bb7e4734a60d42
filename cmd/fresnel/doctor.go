package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"fresnel/fnapi/boot/python"
	"fresnel/jobservice/jobclient"
)

// finding is the outcome of one check.
type finding struct {
	Check string `json:"check"`
	// Level is ok, warning or problem.
	Level string `json:"level"`
	What  string `json:"what"`
	// Cure says how to mend it; empty if there is nothing to.
	Cure string `json:"cure,omitempty"`
}

func well(check, what string, args ...any) finding {
	return finding{Check: check, Level: "ok", What: fmt.Sprintf(what, args...)}
}

func (f finding) but(level, cure string) finding {
	f.Level, f.Cure = level, cure
	return f
}

// examination is what doctor looks at.
type examination struct {
	python  string
	server  string
	jobPort int
	dataDir string
}

// doctor checks what a machine needs to run pipelines.
func doctor(ctx context.Context, args []string) error {
	var x examination
	fs := flag.NewFlagSet("fresnel doctor", flag.ContinueOnError)
	fs.StringVar(&x.python, "python", "", "the Python to check (default: "+defaultPython+")")
	fs.StringVar(&x.server, "server", "", "also check that a server answers at this job endpoint")
	fs.IntVar(&x.jobPort, "job_port", 8073, "the port that a server here is to listen on")
	fs.StringVar(&x.dataDir, "data_dir", os.TempDir(), "where a server here is to keep its files")
	asJSON := fs.Bool("json", false, "print JSON, a finding a line")
	if err := parse(fs, args); err != nil {
		return err
	}
	return report(os.Stdout, x.findings(ctx), *asJSON)
}

func report(out io.Writer, findings []finding, asJSON bool) error {
	problems := 0
	for _, f := range findings {
		if f.Level == "problem" {
			problems++
		}
		if asJSON {
			if err := json.NewEncoder(out).Encode(f); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(out, "%-8s %-8s %s\n", f.Level, f.Check, f.What)
		if f.Cure != "" {
			fmt.Fprintf(out, "%17s → %s\n", "", f.Cure)
		}
	}
	if problems > 0 {
		return exitCode(exitFailed)
	}
	return nil
}

func (x examination) findings(ctx context.Context) []finding {
	all := []finding{x.interpreter(ctx), x.port(), x.disk(), x.cache(), files(), memory()}
	if x.server != "" {
		all = append(all, x.reach(ctx))
	}
	return append(all, configuration())
}

func (x examination) interpreter(ctx context.Context) finding {
	const check = "python"
	i, err := python.Inspect(ctx, firstPython(x.python))
	if err == nil && i.Beam != "" {
		f := well(check, "%s: Python %s, apache-beam %s", i.Path, i.Version, i.Beam)
		if !testedBeam(i.Beam) {
			return f.but("warning", "Fresnel is tested with apache-beam "+oldestBeam+" to "+python.BeamVersion+": others may work")
		}
		return f
	}
	bare, none := python.Bare(ctx, "")
	if none != nil {
		return well(check, "%v", none).but("problem", "install Python 3.11, or name one with --python")
	}
	if exec.CommandContext(ctx, bare.Path, "-c", "import ensurepip, venv").Run() != nil {
		return well(check, "no environment with apache-beam is active, and %s cannot make one", bare.Path).
			but("problem", "install its venv module (Debian has it in the package python3-venv), or name another Python with --python")
	}
	f := well(check, "no environment with apache-beam is active; Python %s is at %s", bare.Version, bare.Path)
	if x.python != "" && err != nil {
		f.What = err.Error()
	}
	return f.but("warning", "`fresnel run` installs Beam by itself the first time; or: python3 -m venv .venv && .venv/bin/pip install apache-beam=="+python.BeamVersion)
}

// oldestBeam is the oldest release of Beam that the tests run.
const oldestBeam = "2.60.0"

func testedBeam(version string) bool {
	var minor, oldest, newest int
	_, err := fmt.Sscanf(version, "2.%d.", &minor)
	_, _ = fmt.Sscanf(oldestBeam, "2.%d.", &oldest)
	_, _ = fmt.Sscanf(python.BeamVersion, "2.%d.", &newest)
	return err == nil && minor >= oldest && minor <= newest
}

func (x examination) port() finding {
	const check = "port"
	address := net.JoinHostPort("localhost", fmt.Sprint(x.jobPort))
	l, err := net.Listen("tcp", address)
	if err == nil {
		_ = l.Close() // it was free
		return well(check, "%s is free for a server", address)
	}
	f := well(check, "%s is taken: %v", address, err)
	return f.but("warning", "if that is a server already, use it with --server="+address+"; else start one with --job_port=0 or another")
}

func (x examination) disk() finding {
	const check, least = "disk", 1 << 30
	free, err := freeBytes(x.dataDir)
	if err != nil {
		return well(check, "%s: %v", x.dataDir, err).but("problem", "name a directory that can be written with --data_dir, or set TMPDIR")
	}
	f := well(check, "%s has %s free", x.dataDir, gigabytes(free))
	if free < least {
		return f.but("warning", "staged files and virtual environments go there: free some, or name another with --data_dir")
	}
	return f
}

func (x examination) cache() finding {
	const check = "cache"
	dir := filepath.Dir(python.CacheDir())
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		var f *os.File
		if f, err = os.CreateTemp(dir, "doctor-"); err == nil {
			_ = errors.Join(f.Close(), os.Remove(f.Name()))
		}
	}
	if err != nil {
		return well(check, "%v", err).but("problem", "set FRESNEL_CACHE to a directory that can be written: virtual environments are kept there")
	}
	return well(check, "virtual environments are kept in %s", dir)
}

func files() finding {
	const check, least = "files", 4096
	n, ok := openFiles()
	if !ok {
		return well(check, "the limit of open files is not known here")
	}
	f := well(check, "up to %d open files", n)
	if n < least {
		return f.but("warning", fmt.Sprintf("many workers and connections need more: ulimit -n %d", least))
	}
	return f
}

func memory() finding {
	const check = "memory"
	total, ok := totalMemory()
	if !ok {
		return well(check, "%d cores", runtime.NumCPU())
	}
	f := well(check, "%s for %d cores", gigabytes(total), runtime.NumCPU())
	if total < uint64(runtime.NumCPU())*500<<20 {
		return f.but("warning", "a Python worker for each core takes about 200 MB before it does anything: use fewer, with --sdk_worker_parallelism")
	}
	return f
}

func (x examination) reach(ctx context.Context) finding {
	const check = "server"
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	client, err := jobclient.Dial(x.server)
	if err != nil {
		return well(check, "%v", err).but("problem", "name it as HOST:PORT")
	}
	defer client.Close()
	jobs, err := client.Jobs(ctx)
	switch {
	case errors.Is(err, jobclient.ErrForeign):
		return well(check, "%v", err).but("problem", "name Fresnel's job endpoint")
	case err != nil:
		return well(check, "%v", err).but("problem", "start it; to serve other machines it needs --host=0.0.0.0")
	}
	return well(check, "%s answers, with %d jobs", x.server, len(jobs))
}

func configuration() finding {
	path, named := configFile()
	_, err := settings("")
	_, absent := os.Stat(path)
	switch {
	case err != nil:
		return well("config", "%v", err).but("problem", "mend or remove the file")
	case absent != nil && !named:
		return well("config", "no configuration file; it would be %s", path)
	}
	return well("config", "%s", path)
}

func gigabytes(n uint64) string { return fmt.Sprintf("%.1f GB", float64(n)/1e9) }
