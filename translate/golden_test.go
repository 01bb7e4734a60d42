package translate

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// captured reads a pipeline that testdata/gen.py wrote.
func captured(t testing.TB, name string) *pipepb.Pipeline {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".pb"))
	if err != nil {
		t.Fatal(err)
	}
	p := &pipepb.Pipeline{}
	if err := proto.Unmarshal(b, p); err != nil {
		t.Fatal(err)
	}
	return p
}

func capturedNames(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "*.pb"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no pipelines: %v", err)
	}
	for i, f := range files {
		files[i] = strings.TrimSuffix(filepath.Base(f), ".pb")
	}
	return files
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (rewrite with -update and read the difference):\n%s", file, got)
	}
}

func TestPlansOfPythonPipelines(t *testing.T) {
	t.Parallel()
	for _, name := range capturedNames(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			plan, err := Translate(captured(t, name), Options{})
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name, plan.String())
		})
	}
}
