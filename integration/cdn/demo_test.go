package cdn_test

import (
	"os/exec"
	"path/filepath"
	"testing"

	"fresnel/integration/cdn/rig"
)

// TestDemo is what `make demo ARGS=--once` does.
func TestDemo(t *testing.T) {
	binary, err := rig.Build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	root, err := rig.Root()
	if err != nil {
		t.Fatal(err)
	}
	python, err := rig.Python()
	if err != nil {
		t.Fatal(err)
	}
	embedded := filepath.Join(root, "bin", "embedded")
	if _, err := exec.LookPath(embedded); err != nil {
		t.Fatal("no Kafka and MySQL for the demo: run `make modules`")
	}
	out, err := exec.CommandContext(t.Context(), binary, "demo", "--once", "--timeout=4m", "--embedded="+embedded, "--python="+python).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if missing := without([]string{"ok: every number of 35 provinces"}, string(out)); len(missing) > 0 {
		t.Errorf("it did not print %q:\n%s", missing, out)
	}
}
