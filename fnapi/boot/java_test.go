package boot

import (
	"archive/zip"
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/structpb"
)

// fakeJava makes a JVM of a script, and JAVA_HOME its place.
func fakeJava(t *testing.T, script string) {
	t.Helper()
	home := t.TempDir()
	if err := os.Mkdir(filepath.Join(home, "bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, "bin", "java"), []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("JAVA_HOME", home)
}

// jar is the bytes of one that has these files.
func jar(t *testing.T, names ...string) string {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, name := range names {
		if _, err := w.Create(name); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// newJavaRunner has a Java pipeline with the harness in the second of its files.
func newJavaRunner(t *testing.T) *fakeRunner {
	t.Helper()
	r := newRunner(t)
	r.info.Metadata[MetadataSDK] = "apache/beam_java17_sdk:2.77.0"
	r.stage("z.jar", jar(t, "Main.class"), "")
	r.stage("a harness.jar", jar(t, "org/apache/beam/fn/harness/FnHarness.class"), "")
	r.stage("words.txt", "no jar", "")
	return r
}

// TestAJavaHarnessHasTheStagedFilesAsItsClassPath in the client's order, and no
// Python is looked for.
func TestAJavaHarnessHasTheStagedFilesAsItsClassPath(t *testing.T) {
	r := newJavaRunner(t)
	r.info.Metadata[MetadataWorkers] = "4"
	options, err := structpb.NewStruct(map[string]any{"beam:option:jdk_add_open_modules:v1": []any{"java.base/java.lang=ALL-UNNAMED"}})
	if err != nil {
		t.Fatal(err)
	}
	r.info.PipelineOptions = options
	fakeJava(t, `
echo "arguments $@"
echo "path $(cat ${1#@})"
echo "id $HARNESS_ID capabilities $RUNNER_CAPABILITIES"
echo "control $CONTROL_API_SERVICE_DESCRIPTOR logging $LOGGING_API_SERVICE_DESCRIPTOR"
echo "options $(cat $PIPELINE_OPTIONS_FILE)"
`)
	dir := t.TempDir()
	var out printed
	if err := Run(t.Context(), Config{ID: "worker-1", Provision: r.endpoint, Dir: dir, Print: out.add, Python: "/no/python"}); err != nil {
		t.Fatal(err)
	}
	at, staged := `url: "`+r.endpoint+`"`, dir+"/staged/"
	for _, want := range []string{
		"arguments @" + dir + "/class_path -XX:-OmitStackTraceInFastThrow -XX:MaxRAMPercentage=15.0 " +
			"--add-opens=java.base/java.lang=ALL-UNNAMED org.apache.beam.fn.harness.FnHarness",
		`path -cp "` + staged + "z.jar:" + staged + "a harness.jar:" + staged + `words.txt"`,
		"id worker-1 capabilities a b", "control " + at + " logging " + at,
		`options {"beam:option:jdk_add_open_modules:v1":["java.base/java.lang=ALL-UNNAMED"],"beam:option:max_cache_memory_usage_mb:v1":"100"}`,
	} {
		if !out.has(want) {
			t.Errorf("printed %q, without %q", out.lines, want)
		}
	}
}

// TestWhatJavasHarnessPrintsOfItselfIsNotShown: the options may have passwords.
func TestWhatJavasHarnessPrintsOfItselfIsNotShown(t *testing.T) {
	r := newJavaRunner(t)
	fakeJava(t, `
echo "from an initializer"
echo "SDK Fn Harness started"
echo "Control location url: 1"
echo
echo "Pipeline options {secret}"
echo "from a DoFn"
`)
	for _, toOutput := range []bool{true, false} {
		var out printed
		cfg := Config{ID: "worker-1", Provision: r.endpoint, Print: out.add}
		if toOutput {
			cfg.Output, cfg.Print = out.add, func(line string) { t.Errorf("to stderr: %s", line) }
		}
		if err := Run(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		if want := []string{"from an initializer", "from a DoFn"}; !slices.Equal(out.lines, want) {
			t.Errorf("printed %q, want %q", out.lines, want)
		}
	}
}

func TestWhatAJavaPipelineLacksIsNamed(t *testing.T) {
	for name, c := range map[string]struct {
		jar, home, path, want string
	}{
		"the harness":      {"Other.class", "", os.Getenv("PATH"), "add beam-sdks-java-harness"},
		"Java":             {"org/apache/beam/fn/harness/FnHarness.class", "", "/no/bin", "install a JRE"},
		"Java at its home": {"org/apache/beam/fn/harness/FnHarness.class", "/no/java", "/no/bin", "JAVA_HOME"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("JAVA_HOME", c.home)
			t.Setenv("PATH", c.path)
			r := newRunner(t)
			r.info.Metadata[MetadataSDK] = "apache/beam_java17_sdk:2.77.0"
			r.stage("a.jar", jar(t, c.jar), "")
			err := Run(t.Context(), Config{ID: "worker-1", Provision: r.endpoint})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestAJVMReadsWhatIsQuoted(t *testing.T) {
	t.Parallel()
	if got, want := argument(`C:\a "b".jar`), `"C:\\a \"b\".jar"`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
