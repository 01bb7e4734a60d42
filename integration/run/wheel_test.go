package run_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	interpreter "fresnel/fnapi/boot/python"
	"fresnel/integration/cdn/rig"
)

// TestPythonPackageInACleanEnvironment builds the wheel as `make wheel` does, and
// runs the package's own tests where nothing but it and Beam is installed: no
// Java, no network, and no cache of jars.
func TestPythonPackageInACleanEnvironment(t *testing.T) {
	t.Parallel()
	root, err := rig.Root()
	if err != nil {
		t.Fatal(err)
	}
	source, wheels := t.TempDir(), t.TempDir()
	if err := os.CopyFS(source, os.DirFS(filepath.Join(root, "python"))); err != nil {
		t.Fatal(err)
	}
	carry(t, filepath.Join(source, "src", "fresnel", "bin"))
	output(t, nil, python(t), "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps", "--wheel-dir", wheels, source)
	built, err := filepath.Glob(filepath.Join(wheels, "fresnel-*-py3-none-*.whl"))
	if err != nil || len(built) != 1 {
		t.Fatalf("wheels %q, %v", built, err)
	}
	home := t.TempDir()
	bare := []string{"HOME=" + home, "PATH=" + home, "http_proxy=http://127.0.0.1:9", "https_proxy=http://127.0.0.1:9"}
	t.Logf("%s", output(t, bare, clean(t, built[0]), filepath.Join(root, "python", "tests", "test_fresnel.py")))
}

// carry puts the program into a directory of the package.
func carry(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(fresnel(t))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "fresnel"), program, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// clean is the Python of an environment with Beam and this wheel.
func clean(t *testing.T, wheel string) string {
	t.Helper()
	base, err := interpreter.Inspect(t.Context(), python(t))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	output(t, nil, base.Path, "-m", "venv", "--without-pip", dir)
	sites := ""
	for _, s := range base.Sites {
		sites += s + "\n"
	}
	if err := os.WriteFile(filepath.Join(dir, "lib", "python"+base.Version, "site-packages", "base.pth"), []byte(sites), 0o644); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "bin", "python")
	output(t, nil, path, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-index", wheel)
	if _, err := exec.LookPath(filepath.Join(dir, "bin", "fresnel")); err != nil {
		t.Errorf("the wheel has no command: %v", err)
	}
	return path
}
