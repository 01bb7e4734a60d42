package conformance

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"
)

// module is the top directory of the module.
func module(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// python is the interpreter that has Beam; without it the test is skipped.
func python(t *testing.T) string {
	t.Helper()
	path := filepath.Join(module(t), ".venv", "bin", "python")
	if _, err := os.Stat(path); err != nil {
		t.Skip("there is no .venv with Beam to run its suites: make venv")
	}
	return path
}

// buildFresnel builds the binary, once for all suites.
func buildFresnel(t *testing.T) string {
	t.Helper()
	python(t)
	bin, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

var built = sync.OnceValues(func() (string, error) {
	bin := filepath.Join(tempDir, "fresnel")
	cmd := exec.Command("go", "build", "-trimpath", "-o", bin, "fresnel/cmd/fresnel")
	cmd.Stderr = os.Stderr
	return bin, cmd.Run()
})

// tempDir outlives single tests.
var tempDir string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if tempDir, err = os.MkdirTemp("", "fresnel-conformance-"); err != nil {
			panic(err)
		}
		defer func() { _ = os.RemoveAll(tempDir) }()
		defer counts.print()
		return m.Run()
	}())
}

// serve runs a server until the test ends, and returns its job endpoint.
func serve(t *testing.T, bin string, flags ...string) string {
	t.Helper()
	if peer != "" {
		return start(t, regexp.MustCompile(`job endpoint (\S+)`), peer, "serve", "--job_port=0")
	}
	return start(t, regexp.MustCompile(`job endpoint (\S+)`), append([]string{bin, "--job_port=0"}, flags...)...)
}

// servePool runs a worker pool until the test ends, and returns its address.
func servePool(t *testing.T, bin string) string {
	t.Helper()
	return start(t, regexp.MustCompile(`worker pool at ([^\s;]+)`), bin, "worker-pool", "--port=0")
}

// serveExpansion runs an expansion service of Beam Python's until the test ends, and
// returns its port.
func serveExpansion(t *testing.T, module string, flags ...string) string {
	t.Helper()
	port := freePort(t)
	return start(t, regexp.MustCompile(`expansion requests at (\d+)`), append([]string{python(t), "-m",
		"apache_beam.runners.portability." + module, "-p", port}, flags...)...)
}

// freePort is a port for those who cannot choose one themselves.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err = errors.Join(err, l.Close()); err != nil {
		t.Fatal(err)
	}
	return port
}

// startLimit is for a server to say where it listens.
const startLimit = time.Minute

// start runs a command until the test ends, with its output in a file, and
// returns what it prints where address says.
func start(t *testing.T, address *regexp.Regexp, argv ...string) string {
	t.Helper()
	log, err := os.Create(filepath.Join(t.ArtifactDir(), filepath.Base(argv[0])+"-"+argv[1]+".log"))
	if err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "FRESNEL_PYTHON="+python(t), "FRESNEL_DATA_DIR="+filepath.Join(t.TempDir(), "data"))
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	found, copied := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(copied)
		copyLog(log, r, address, found)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt) // one that has ended by itself is known by its log
		_ = cmd.Wait()
		_ = w.Close()
		<-copied
	})
	select {
	case at := <-found:
		return at
	case <-time.After(startLimit):
		t.Fatalf("%v does not say where it listens; its output is in %s", argv, log.Name())
		return ""
	}
}

// copyLog copies lines to a file, and sends what the first one that has an
// address says.
func copyLog(log *os.File, from io.Reader, address *regexp.Regexp, found chan<- string) {
	defer log.Close()
	lines := bufio.NewReader(from)
	for {
		line, err := lines.ReadString('\n')
		_, _ = log.WriteString(line) // for people; the test does not need it
		if m := address.FindStringSubmatch(line); m != nil {
			select {
			case found <- m[1]:
			default:
			}
		}
		if err != nil {
			return
		}
	}
}
