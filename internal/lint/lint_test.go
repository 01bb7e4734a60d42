package lint

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"
)

func TestTheModuleKeepsToItsArchitecture(t *testing.T) {
	t.Parallel()
	wrong, err := check(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range wrong {
		t.Error(w)
	}
}

func TestWhatIsForbiddenIsCaught(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, file, src string
		want            string // part of the only violation; empty if all is well
	}{
		{"the engine and gRPC", "runner/engine/step.go", `import "google.golang.org/grpc/codes"`, "must not know google.golang.org/grpc/codes"},
		{"the engine and protos", "runner/engine/step.go", `import "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"`, "must not know github.com/apache/beam"},
		{"the engine and files", "runner/engine/step.go", `import "os"`, "must not know os"},
		{"the engine and the network", "runner/engine/step.go", `import "net/http"`, "must not know net/http"},
		{"the engine and the runner", "runner/engine/step.go", `import "fresnel/runner"`, "must not import runner"},
		{"the engine and the store", "runner/engine/step.go", `import "fresnel/runner/store"`, "must not import runner/store"},
		{"a goroutine in the engine", "runner/engine/step.go", `func f() { go f() }`, "no goroutines"},
		{"the clock in the engine", "runner/engine/step.go", `import "time"; var t = time.Now()`, "no time.Now"},
		{"the clock under another name", "runner/engine/step.go", `import clock "time"; var t = clock.After`, "no time.After"},
		{"types of package time in the engine", "runner/engine/step.go", `import "time"; var d time.Duration = time.Second`, ""},
		{"the engine and the vocabulary", "runner/engine/step.go", `import "fresnel/internal/beam"`, ""},
		{"the engine and coders", "runner/engine/step.go", `import "fresnel/internal/coder"`, "must not import internal/coder"},
		{"the vocabulary and coders", "internal/beam/time.go", `import "fresnel/internal/coder"`, "(of this module, only: nothing)"},
		{"coders and the vocabulary", "internal/coder/kv.go", `import "fresnel/internal/beam"`, ""},
		{"coders and plans", "internal/coder/kv.go", `import "fresnel/translate"`, "must not import translate"},
		{"translation and protos", "translate/fuse.go", `import "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"`, ""},
		{"translation and gRPC", "translate/fuse.go", `import "google.golang.org/grpc"`, "must not know google.golang.org/grpc"},
		{"translation and time", "translate/fuse.go", `import "time"`, "must not know time"},
		{"translation and the runner", "translate/fuse.go", `import "fresnel/runner"`, "must not import runner"},
		{"windows and gRPC", "runner/window/pane.go", `import "google.golang.org/grpc"`, "must not know google.golang.org/grpc"},
		{"windows and state", "runner/window/pane.go", `import "fresnel/runner/state"`, ""},
		{"state and the Fn API", "runner/state/bag.go", `import "fresnel/fnapi"`, "must not import fnapi"},
		{"the store and Beam", "runner/store/disk.go", `import "fresnel/internal/beam"`, "must not import internal/beam"},
		{"the store and files", "runner/store/disk.go", `import "os"`, ""},
		{"the runner and gRPC", "runner/run.go", `import "google.golang.org/grpc/status"`, "must not know google.golang.org/grpc/status"},
		{"the runner and the Fn API", "runner/run.go", `import "fresnel/fnapi"`, ""},
		{"the Fn API and plans", "fnapi/control.go", `import "fresnel/translate"`, "must not import translate"},
		{"the Fn API and windows", "fnapi/control.go", `import "fresnel/runner/window"`, "must not import runner/window"},
		{"the job service and the runner", "jobservice/job.go", `import "fresnel/runner"`, "must not import runner"},
		{"the job service and bundles", "jobservice/job.go", `import "fresnel/fnapi"`, "must not import fnapi"},
		{"a connector and the engine", "connectors/kafka/read.go", `import "fresnel/runner/engine"`, "must not import runner/engine"},
		{"a connector and its contract", "connectors/kafka/read.go", `import "fresnel/connectors"`, ""},
		{"the dashboard and the runner", "dashboard/page.go", `import "fresnel/runner"`, "must not import runner"},
		{"the command and protos", "cmd/fresnel/main.go", `import "google.golang.org/protobuf/proto"`, "must not know google.golang.org/protobuf/proto"},
		{"the command and the runner", "cmd/fresnel/main.go", `import "fresnel/runner"`, ""},
		{"a name that only begins alike", "runner/engine/step.go", `import "netip"`, ""},
		{"a test file", "runner/engine/step_test.go", `import "os"`, ""},
		{"a module of its own", "examples/cdn/go.mod", ``, ""},
		{"a package that nobody thought about", "internal/cache/lru.go", ``, "has no rule"},
		{"a directory that nobody thought about", "pkg/x/x.txt", ``, "top level"},
		{"a name that says nothing", "runner/utils/x.go", `package utils`, "says nothing"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			wrong, err := check(fstest.MapFS{tc.file: source(tc.src)})
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case tc.want == "" && len(wrong) > 0:
				t.Errorf("found wrong: %q", wrong)
			case tc.want != "" && (len(wrong) != 1 || !strings.Contains(wrong[0], tc.want)):
				t.Errorf("got %q, want one with %q", wrong, tc.want)
			}
		})
	}
}

func source(src string) *fstest.MapFile {
	if !strings.HasPrefix(src, "package ") {
		src = "package p; " + src
	}
	return &fstest.MapFile{Data: []byte(src)}
}
