package conformance

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestJavaSuite runs the tests of Beam's Java SDK that have the category
// ValidatesRunner, all of them, with workers in the process of the tests.
func TestJavaSuite(t *testing.T) {
	sdk := javaSDK(t)
	options, err := json.Marshal([]string{"--runner=EndpointRunner", "--jobEndpoint=" + serve(t, buildFresnel(t))})
	if err != nil {
		t.Fatal(err)
	}
	tests, err := filepath.Glob(filepath.Join(sdk, "beam-sdks-java-core-*-tests.jar"))
	if err != nil || len(tests) != 1 {
		t.Fatalf("%d jars of tests in %s: %v", len(tests), sdk, err)
	}
	report := filepath.Join(t.TempDir(), "report.xml")
	ctx, cancel := context.WithTimeout(t.Context(), suiteLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "java", "-XX:TieredStopAtLevel=1", "-Xmx2g", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
		"-DbeamTestPipelineOptions="+string(options), "-cp", filepath.Join(sdk, "classes")+":"+filepath.Join(sdk, "*"),
		"Suite", report, tests[0])
	cmd.Dir = t.TempDir()
	out, err := cmd.CombinedOutput()
	keepLog(t, out)
	if err != nil {
		t.Fatalf("%v:\n%s", err, tail(string(out)))
	}
	t.Log(closingLine(out))
	counts.add(t.Name(), closingLine(out))
	results, err := readReport(report)
	if err != nil {
		t.Fatal(err)
	}
	judge(t, results, readExclusions(t))
}

// javaSDK is where `make javasuites` has put the SDK with its tests; without it
// the test is skipped.
func javaSDK(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(module(t), ".cache", "javasdk")
	if _, err := os.Stat(filepath.Join(dir, "ready")); err != nil {
		t.Skip("the tests of Beam's Java SDK are not here: make javasuites")
	}
	return dir
}
