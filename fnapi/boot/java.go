package boot

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"

	"fresnel/fnapi/boot/child"
)

// A Java pipeline's files are its class path. Beam's image has its harness
// besides, but who submits Java's transforms, a job client that can run them by
// itself or an expansion service, has it among the jars that it stages
// (docs/decisions/032-java.md).

const (
	harnessMain = "org.apache.beam.fn.harness.FnHarness"
	// classPathFile is where the JVM reads its class path: as an argument that of a
	// large pipeline may be longer than the kernel takes.
	classPathFile = "class_path"
	// heapPart is what the heaps of all workers may have of the memory, in percent:
	// less than what the runner lets them have in all, so that they collect first.
	heapPart = 60
)

// IsJava tells whether that image, or one that it stands for, is of the Java SDK.
func IsJava(image string) bool { return strings.Contains(image, "beam_java") }

// runJava runs a Java harness of the staged files.
func runJava(ctx context.Context, cfg Config, info *fnpb.ProvisionInfo, files []file, dir string) error {
	path := classPath(files, filepath.Join(dir, "staged"))
	if !hasHarness(path) {
		return fmt.Errorf("none of the job's %d files has Beam's Java harness: add beam-sdks-java-harness, and jamm, which it needs, to what the pipeline stages",
			len(files))
	}
	java, err := FindJava()
	if err != nil {
		return err
	}
	env, err := harnessVariables(cfg, info, dir)
	if err != nil {
		return err
	}
	argFile := filepath.Join(dir, classPathFile)
	if err := os.WriteFile(argFile, []byte("-cp "+argument(strings.Join(path, string(filepath.ListSeparator)))), 0o600); err != nil {
		return err
	}
	cfg = withoutGreeting(cfg)
	return runHarness(ctx, cfg, child.Spec{Path: java, Env: env, Args: javaArguments(argFile, info)})
}

// classPath is the files in the client's order: the first that has a class counts.
func classPath(files []file, staged string) []string {
	path := make([]string, len(files))
	for i, f := range files {
		path[i] = filepath.Join(staged, f.name)
	}
	return path
}

// hasHarness looks for the harness in jars.
func hasHarness(path []string) bool {
	class := strings.ReplaceAll(harnessMain, ".", "/") + ".class"
	for _, p := range path {
		jar, err := zip.OpenReader(p)
		if err != nil {
			continue // a file of another kind
		}
		f, err := jar.Open(class)
		if err == nil {
			err = f.Close()
		}
		_ = jar.Close() // it was read only
		if err == nil {
			return true
		}
	}
	return false
}

// FindJava is the JVM that harnesses run in: JAVA_HOME's, or else the first in the
// path.
func FindJava() (string, error) {
	if home := os.Getenv("JAVA_HOME"); home != "" {
		java, err := exec.LookPath(filepath.Join(home, "bin", "java"))
		if err != nil {
			return "", fmt.Errorf("there is no Java where JAVA_HOME says: %w", err)
		}
		return java, nil
	}
	java, err := exec.LookPath("java")
	if errors.Is(err, exec.ErrNotFound) {
		return "", errors.New("the pipeline has transforms of Java's, and there is no java here: install a JRE, of Java 11 or later, or set JAVA_HOME")
	}
	return java, err
}

// argument quotes for a file of a JVM's arguments.
func argument(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
}

// javaArguments are those of the JVM. What they do not say is its own choice, or the
// user's in JDK_JAVA_OPTIONS.
func javaArguments(argFile string, info *fnpb.ProvisionInfo) []string {
	args := []string{"@" + argFile, "-XX:-OmitStackTraceInFastThrow"} // an exception is shown with its place, however often it was thrown
	if n, err := strconv.Atoi(info.GetMetadata()[MetadataWorkers]); err == nil && n > 0 {
		args = append(args, fmt.Sprintf("-XX:MaxRAMPercentage=%.1f", heapPart/float64(n))) // an -Xmx goes before it
	}
	args = append(args, repeated("--add-opens=", info, "jdk_add_open_modules")...)
	args = append(args, repeated("--add-modules=", info, "jdk_add_root_modules")...)
	return append(args, harnessMain)
}

// repeated is the flag for each of the values that a pipeline option has.
func repeated(flag string, info *fnpb.ProvisionInfo, option string) []string {
	var all []string
	for _, v := range info.GetPipelineOptions().GetFields()["beam:option:"+option+":v1"].GetListValue().GetValues() {
		all = append(all, flag+v.GetStringValue())
	}
	return all
}

// withoutGreeting leaves out what Java's harness prints first: its endpoints and
// the pipeline's options, with the passwords in them.
func withoutGreeting(cfg Config) Config {
	const before, greeting, after = 0, 1, 2
	at := before
	pass := func(show func(string)) func(string) {
		if show == nil {
			return nil
		}
		return func(line string) {
			switch {
			case at == before && line == "SDK Fn Harness started":
				at = greeting
			case at == greeting && strings.HasPrefix(line, "Pipeline options "):
				at = after
			case at != greeting:
				show(line)
			}
		}
	}
	if cfg.Output != nil {
		cfg.Output = pass(cfg.Output)
	} else {
		cfg.Print = pass(cfg.Print)
	}
	return cfg
}
