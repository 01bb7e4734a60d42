package fnapi_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"

	"fresnel/fnapi"
	"fresnel/internal/beam"
)

const pythonBase = "beam:version:sdk_base:apache/beam_python3.11_sdk:2.77.0"

func image(name string, capabilities ...string) *pipepb.Environment {
	payload, _ := proto.Marshal(&pipepb.DockerPayload{ContainerImage: name})
	return &pipepb.Environment{Urn: "beam:env:docker:v1", Payload: payload, Capabilities: capabilities}
}

// fakeDocker puts a docker command first in the path that records its calls,
// and runs the scripted harness for "docker run". Its last answer is its exit
// status for "docker version".
func fakeDocker(t *testing.T, versionStatus int) (calls string) {
	t.Helper()
	dir := t.TempDir()
	calls = filepath.Join(dir, "calls")
	script := fmt.Sprintf(`#!/bin/sh
echo "$@" >> %s
case $1 in
version) exit %d;;
run) shift; while case $1 in -*) true;; *) false;; esac; do shift; done; echo "image $1"; shift; exec %s harness echo "$@";;
esac
`, calls, versionStatus, os.Args[0])
	if err := os.WriteFile(filepath.Join(dir, "docker"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	return calls
}

func TestContainersRunWhereDockerAnswers(t *testing.T) {
	calls := fakeDocker(t, 0)
	r := newRig(t, fnapi.Config{})
	r.pool(fnapi.Environment{Env: image("apache/beam_python3.11_sdk:2.77.0"), Parallelism: 1})
	w := r.up()
	var out output
	finishWell(t, w.Start(bundle(stage([]string{"out"}), &out, "x")))
	r.awaitLog("image apache/beam_python3.11_sdk:2.77.0")
	if took, ok := w.CPU(); ok {
		t.Errorf("the container is said to have taken %v: that is the docker command's", took)
	}
	r.server.Close()
	got, err := os.ReadFile(calls)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"run --rm --name=fresnel-" + w.ID() + " --network=host apache/beam_python3.11_sdk:2.77.0 --id=" + w.ID() + " --logging_endpoint=" + r.server.Endpoint(),
		"rm --force fresnel-" + w.ID(),
	} {
		if !strings.Contains(string(got), want) {
			t.Errorf("docker was called with\n%swant %s", got, want)
		}
	}
}

func TestProcessesStandInForContainers(t *testing.T) {
	exe := python(t)
	fakeDocker(t, 1)
	t.Setenv("FRESNEL_PYTHON", exe)
	r := newRig(t, fnapi.Config{Executable: os.Args[0]})
	r.pool(fnapi.Environment{Env: image("my/image", pythonBase), Parallelism: 1})
	e := r.awaitLog("No Docker engine answers: local processes stand in for the container image my/image.")
	for _, word := range []string{exe, "Python 3.11", "apache-beam 2.77.0", "like the image"} {
		if !strings.Contains(e.Message, word) {
			t.Errorf("the warning %q does not say %q", e.Message, word)
		}
	}
	var out output
	finishWell(t, r.up().Start(bundle(pythonStage(t, "Twice"), &out, kv("a", "1"))))
}

func TestAServerCanBeToldToRunProcesses(t *testing.T) {
	exe := python(t)
	fakeDocker(t, 0)
	t.Setenv("FRESNEL_PYTHON", exe)
	r := newRig(t, fnapi.Config{Executable: os.Args[0], Processes: true})
	r.pool(fnapi.Environment{Env: image("my/image", pythonBase), Parallelism: 1})
	r.awaitLog("As the server was told, local processes stand in for the container image my/image.")
	r.up()
}

func TestAGoBinaryStandsInForItsContainer(t *testing.T) {
	fakeDocker(t, 1)
	r := newRig(t, fnapi.Config{Executable: "/no/fresnel"})
	env := image("apache/beam_go_sdk:2.77.0", "beam:version:sdk_base:go")
	env.Dependencies = []*pipepb.ArtifactInformation{{RoleUrn: "beam:artifact:role:go_worker_binary:v1"}}
	r.pool(fnapi.Environment{Env: env, Parallelism: 1})
	e := r.awaitLog("No Docker engine answers: local processes stand in for the container image apache/beam_go_sdk:2.77.0.")
	if !strings.HasSuffix(e.Message, "They run the pipeline's Go binary.") {
		t.Errorf("the warning is %q", e.Message)
	}
}

func TestJavaStandsInForItsContainer(t *testing.T) {
	fakeDocker(t, 1)
	r := newRig(t, fnapi.Config{Executable: "/no/fresnel"})
	t.Setenv("JAVA_HOME", "/no/java")
	r.pool(fnapi.Environment{Env: image("my/image", "beam:version:sdk_base:apache/beam_java17_sdk:2.77.0"), Parallelism: 1})
	e := r.awaitLog("No Docker engine answers: local processes stand in for the container image my/image.")
	if !strings.Contains(e.Message, "no Java where JAVA_HOME says") {
		t.Errorf("the warning is %q", e.Message)
	}
}

func TestOnlyPythonJavaAndGoStandIn(t *testing.T) {
	fakeDocker(t, 1)
	r := newRig(t, fnapi.Config{})
	_, err := r.server.Pool(t.Context(), fnapi.Environment{Env: image("apache/beam_typescript_sdk:2.77.0")}, r)
	wantCode(t, err, beam.Unavailable, "apache/beam_typescript_sdk:2.77.0", "start Docker")
}
