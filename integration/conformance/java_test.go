package conformance

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// TestJavaSuite runs the tests of Beam's Java SDK that have the category
// ValidatesRunner, all of them, with workers in the process of the tests.
func TestJavaSuite(t *testing.T) {
	javaSuite{category: "ValidatesRunner"}.run(t, serve(t, buildFresnel(t)))
}

// TestJavaTransformSuite runs those that are no ValidatesRunner but need a runner:
// of the transforms and connectors in the SDK's core.
func TestJavaTransformSuite(t *testing.T) {
	onlyIfAll(t)
	javaSuite{category: "NeedsRunner", prefix: "NeedsRunner:"}.run(t, serve(t, buildFresnel(t)))
}

// TestJavaDurableSuite runs the tests of state and timers with state on disk.
func TestJavaDurableSuite(t *testing.T) {
	onlyIfAll(t)
	suite := javaSuite{category: "ValidatesRunner"}
	for _, class := range []string{
		"ParDoTest$StateTests", "ParDoTest$StateCoderInferenceTests", "ParDoTest$TimerTests", "ParDoTest$TimerFamilyTests",
		"ParDoTest$TimerCoderInferenceTests", "ParDoTest$OnWindowExpirationTests", "GroupIntoBatchesTest", "PerKeyOrderingTest",
	} {
		suite.classes = append(suite.classes, "org.apache.beam.sdk.transforms."+class)
	}
	suite.run(t, serve(t, buildFresnel(t), "--durability=disk"))
}

// TestJavaProcessSuite runs tests of state with workers that are JVMs, which
// `fresnel boot` starts with the class path that the tests stage.
func TestJavaProcessSuite(t *testing.T) {
	javaSuite{
		category: "ValidatesRunner", classes: []string{"org.apache.beam.sdk.transforms.ParDoTest$StateTests"},
		options: []string{"--defaultEnvironmentType=PROCESS", `--defaultEnvironmentConfig={"command": "fresnel boot"}`, "--tempLocation=" + t.TempDir()},
	}.run(t, serve(t, buildFresnel(t)))
}

// withJava is a pipeline of Python's in which Java makes numbers and their sum.
const withJava = `
import sys
import apache_beam as beam
import grpc
import numpy as np
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms.external import JavaExternalTransform

def java(name):
    return JavaExternalTransform('org.apache.beam.sdk.' + name, expansion_service=sys.argv[1])

grpc.channel_ready_future(grpc.insecure_channel(sys.argv[1])).result(60)  # it says where it will be
with beam.Pipeline(options=PipelineOptions(sys.argv[2:])) as p:
    numbers = p | getattr(java('io.GenerateSequence'), 'from')(np.int64(0)).to(np.int64(1000))
    total = numbers | beam.Map(lambda n: n + 1) | 'sum' >> java('transforms.Sum').longsGlobally()
    assert_that(total, equal_to([500500]))
`

// TestPythonWithTransformsOfJava has the transforms expanded by Beam's service in
// Java. What it gives has a container's environment; the server was told to run
// processes instead.
func TestPythonWithTransformsOfJava(t *testing.T) {
	sdk := javaSDK(t)
	endpoint := serve(t, buildFresnel(t), "--environment=process")
	service := start(t, regexp.MustCompile(`expansion service at (\S+)`), "java", "-cp", filepath.Join(sdk, "*"),
		"org.apache.beam.sdk.expansion.service.ExpansionService", freePort(t), "--javaClassLookupAllowlistFile=*")
	ctx, cancel := context.WithTimeout(t.Context(), suiteLimit)
	defer cancel()
	out, err := exec.CommandContext(ctx, python(t), "-c", withJava, service, "--runner=PortableRunner", "--job_endpoint="+endpoint).CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s", err, tail(string(out)))
	}
}

// javaSuite is a run of tests of the Java SDK.
type javaSuite struct {
	category string
	// options are those of the pipelines besides the endpoint.
	options []string
	// classes are those that are run; none is all.
	classes []string
	// prefix is put before the tests' ids, so that an exclusion is of a suite where
	// two have tests of one class.
	prefix string
}

// run runs the suite, prints its counts and compares the results with the
// exclusions.
func (s javaSuite) run(t *testing.T, endpoint string) {
	t.Helper()
	sdk := javaSDK(t)
	options, err := json.Marshal(append([]string{"--runner=EndpointRunner", "--jobEndpoint=" + endpoint}, s.options...))
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
		"Suite", report, tests[0], s.category)
	cmd.Args = append(cmd.Args, s.classes...)
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
	for i := range results {
		results[i].id = s.prefix + results[i].id
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
