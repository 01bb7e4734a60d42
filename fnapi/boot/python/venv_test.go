package python

import (
	"archive/zip"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// wheel writes a package with one module, as pip installs it without a network.
func wheel(t *testing.T, name, version, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name+"-"+version+"-py3-none-any.whl")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	info := name + "-" + version + ".dist-info/"
	z := zip.NewWriter(f)
	for member, content := range map[string]string{
		name + ".py":      text,
		info + "METADATA": "Metadata-Version: 2.1\nName: " + name + "\nVersion: " + version + "\n",
		info + "WHEEL":    "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
		info + "RECORD":   "",
	} {
		w, err := z.Create(member)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// installed is the Python of the tests.
func installed(t *testing.T) Interpreter {
	t.Helper()
	for _, path := range []string{"../../../.venv/bin/python", "python3"} {
		if i, err := Inspect(t.Context(), path); err == nil {
			return i
		}
	}
	t.Fatal("the tests need a Python: make venv")
	return Interpreter{}
}

// says is what a module in an environment says.
func says(t *testing.T, i Interpreter, module string) string {
	t.Helper()
	out, err := exec.Command(i.Path, "-c", "import "+module+"; print("+module+".word)").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestAnEnvironmentIsMadeOnceByParallelStarts(t *testing.T) {
	t.Setenv("FRESNEL_CACHE", t.TempDir())
	r := Recipe{Base: installed(t), Inherit: true, Key: "one", Steps: []Step{
		{What: "one", Tries: [][]string{{"--no-index", "no-such-package"}, {"--no-index", wheel(t, "lighthouse", "1.0", "word = 'lamp'")}}},
	}}
	if r.Ready() {
		t.Error("it is there before it was made")
	}
	var mu sync.Mutex
	var lines []string
	var all sync.WaitGroup
	made := make([]Environment, 4)
	for n := range made {
		all.Go(func() {
			var err error
			made[n], err = r.Make(t.Context(), func(line string) {
				mu.Lock()
				defer mu.Unlock()
				lines = append(lines, line)
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	installs := strings.Count(strings.Join(lines, "\n"), "Successfully installed lighthouse")
	if installs != 1 || !r.Ready() {
		t.Errorf("installed %d times:\n%s", installs, strings.Join(lines, "\n"))
	}
	if got := says(t, made[3].Interpreter, "lighthouse"); got != "lamp" {
		t.Error(got)
	}
}

// TestWhoWaitsToMakeAnEnvironmentTakesTheOneThatIsMade: others that made it in the
// meantime use it, for as long as their harnesses run.
func TestWhoWaitsToMakeAnEnvironmentTakesTheOneThatIsMade(t *testing.T) {
	v := venv{dir: filepath.Join(t.TempDir(), "v"), print: func(string) {}}
	if err := os.MkdirAll(filepath.Dir(v.python()), 0o700); err != nil {
		t.Fatal(err)
	}
	release, err := lockShared(t.Context(), v.dir+".lock") // another's, from before it was made
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	got := make(chan error, 1)
	go func() {
		unlock, err := v.lock(t.Context())
		if err == nil {
			unlock()
		}
		got <- err
	}()
	time.Sleep(3 * lockPoll) // it is not there, and cannot be made
	for _, file := range []string{v.python(), v.done()} {
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case err := <-got:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("it waits for those that use the environment to end")
	}
}

func TestWhatWasLeftHalfMadeIsMadeAnew(t *testing.T) {
	t.Setenv("FRESNEL_CACHE", t.TempDir())
	broken := Recipe{Base: installed(t), Inherit: true, Key: "k", Steps: []Step{{What: "x", Tries: [][]string{{"--no-index", "no-such-package"}}}}}
	if _, err := broken.Make(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "no-such-package") {
		t.Fatalf("error %v", err)
	}
	good := broken
	good.Steps = nil
	if broken.Ready() || good.name() != broken.name() {
		t.Error("a broken environment counts as made")
	}
	if _, err := good.Make(t.Context(), nil); err != nil || !good.Ready() {
		t.Error(err)
	}
}

// TestAnEnvironmentWhosePythonIsGoneIsMadeAnew: that of the system was replaced
// by another version, or removed.
func TestAnEnvironmentWhosePythonIsGoneIsMadeAnew(t *testing.T) {
	t.Setenv("FRESNEL_CACHE", t.TempDir())
	r := Recipe{Base: installed(t), Inherit: true}
	env, err := r.Make(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	env.Release()
	if err := errors.Join(os.Remove(env.Path), os.Symlink(filepath.Join(t.TempDir(), "python"), env.Path)); err != nil {
		t.Fatal(err)
	}
	if r.Ready() {
		t.Error("it counts as made")
	}
	if env, err = r.Make(t.Context(), nil); err != nil || exec.Command(env.Path, "-c", "").Run() != nil {
		t.Errorf("%s does not run: %v", env.Path, err)
	}
}

func TestWhatNobodyUsesIsRemovedAndWhatSomebodyUsesIsNot(t *testing.T) {
	t.Setenv("FRESNEL_CACHE", t.TempDir())
	base := installed(t)
	old, used := Recipe{Base: base, Inherit: true, Key: "old"}, Recipe{Base: base, Inherit: true, Key: "used"}
	for _, r := range []Recipe{old, used} {
		e, err := r.Make(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if r.Key == "old" {
			e.Release()
		}
	}
	prune(CacheDir(), time.Now())
	if !old.Ready() {
		t.Error("what was just used is gone")
	}
	prune(CacheDir(), time.Now().Add(keepUnused+time.Hour))
	if old.Ready() || !used.Ready() {
		t.Errorf("old is there: %v, used is there: %v", old.Ready(), used.Ready())
	}
}
