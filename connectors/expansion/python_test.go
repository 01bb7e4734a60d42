package expansion_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"

	"fresnel/connectors/expansion"
	"fresnel/connectors/kafka"
	"fresnel/connectors/mysql"
)

// The tests here run an unmodified Beam Python client against the service and
// look at the pipeline that it would submit.

// serve starts the expansion service with all connectors on a free port.
func serve(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	server := grpc.NewServer()
	jobpb.RegisterExpansionServiceServer(server, expansion.New(kafka.New(log), mysql.New(log)))
	go server.Serve(listener) //nolint:errcheck // it ends with Stop
	t.Cleanup(server.Stop)
	return listener.Addr().String()
}

// result is what testdata/expand.py printed.
type result struct {
	elementType string
	pipeline    *pipepb.Pipeline
	err         string
}

func expand(t *testing.T, args ...string) result {
	t.Helper()
	python, err := filepath.Abs("../../.venv/bin/python")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath(python); err != nil {
		t.Skip("no Python environment: make venv")
	}
	cmd := exec.CommandContext(context.Background(), python, append([]string{"testdata/expand.py", serve(t)}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	var r result
	for line := range strings.Lines(string(out)) {
		r.add(t, []byte(line))
	}
	if strings.Contains(r.err, "secret-word") {
		t.Errorf("the error shows the password: %s", r.err)
	}
	return r
}

func (r *result) add(t *testing.T, line []byte) {
	t.Helper()
	var fields struct{ Type, Error string }
	if err := json.Unmarshal(line, &fields); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	switch {
	case fields.Type != "":
		r.elementType = fields.Type
	case fields.Error != "":
		r.err = fields.Error
	default:
		r.pipeline = &pipepb.Pipeline{}
		if err := protojson.Unmarshal(line, r.pipeline); err != nil {
			t.Fatal(err)
		}
	}
}

// transform returns the one transform with the URN.
func (r *result) transform(t *testing.T, urn string) *pipepb.PTransform {
	t.Helper()
	if r.err != "" {
		t.Fatal(r.err)
	}
	var found *pipepb.PTransform
	for _, tr := range r.pipeline.GetComponents().GetTransforms() {
		if tr.GetSpec().GetUrn() == urn {
			if found != nil {
				t.Fatalf("two transforms %s", urn)
			}
			found = tr
		}
	}
	if found == nil {
		t.Fatalf("no transform %s", urn)
	}
	return found
}

// output returns the one output of a transform.
func (r *result) output(t *testing.T, tr *pipepb.PTransform) *pipepb.PCollection {
	t.Helper()
	if len(tr.GetOutputs()) != 1 {
		t.Fatalf("%d outputs", len(tr.GetOutputs()))
	}
	for _, id := range tr.GetOutputs() {
		return r.pipeline.GetComponents().GetPcollections()[id]
	}
	return nil
}

func TestPythonSeesWhatAReadReturns(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"kafka_read":          "Tuple[Union[<class 'NoneType'>, <class 'bytes'>], Union[<class 'NoneType'>, <class 'bytes'>]]",
		"kafka_read_text":     "Tuple[Union[<class 'NoneType'>, <class 'int'>], Union[<class 'NoneType'>, <class 'str'>]]",
		"kafka_read_metadata": "'value': typing.Optional[bytes], 'headers':",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := expand(t, name)
			read := r.transform(t, kafka.ReadURN)
			if !strings.Contains(r.elementType, want) {
				t.Errorf("the element type is %s, want %s", r.elementType, want)
			}
			if got := r.output(t, read).GetIsBounded(); got != pipepb.IsBounded_UNBOUNDED {
				t.Errorf("the output is %v", got)
			}
			if read.GetEnvironmentId() != "" || len(read.GetSpec().GetPayload()) == 0 || read.GetUniqueName() != "Read" {
				t.Errorf("the native transform is %v", read)
			}
		})
	}
}

func TestABoundedReadIsBoundedAndRedistributed(t *testing.T) {
	t.Parallel()
	r := expand(t, "kafka_read_bounded")
	read := r.transform(t, kafka.ReadURN)
	spread := r.transform(t, "beam:transform:redistribute_arbitrarily:v1")
	for _, tr := range []*pipepb.PTransform{read, spread} {
		if got := r.output(t, tr).GetIsBounded(); got != pipepb.IsBounded_BOUNDED {
			t.Errorf("the output of %s is %v", tr.GetUniqueName(), got)
		}
	}
}

func TestSchemasOfOnePipelineDoNotCollide(t *testing.T) {
	t.Parallel()
	r := expand(t, "kafka_read_twice")
	if r.err != "" {
		t.Fatal(r.err)
	}
}

func TestAWriteSurvivesPythonsOptimizer(t *testing.T) {
	t.Parallel()
	r := expand(t, "jdbc_write")
	write := r.transform(t, mysql.WriteURN)
	if len(write.GetInputs()) != 1 {
		t.Fatalf("%d inputs", len(write.GetInputs()))
	}
	for _, id := range write.GetInputs() {
		pc := r.pipeline.GetComponents().GetPcollections()[id]
		if urn := r.pipeline.GetComponents().GetCoders()[pc.GetCoderId()].GetSpec().GetUrn(); urn != "beam:coder:row:v1" {
			t.Errorf("the input's coder is %s", urn)
		}
	}
	if !strings.HasSuffix(write.GetUniqueName(), "Write/Write") {
		t.Errorf("its name is %q", write.GetUniqueName())
	}
}

func TestKafkaWritesSurvivePythonsOptimizer(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"kafka_write", "kafka_write_headers"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := expand(t, name)
			if n := len(r.transform(t, kafka.WriteURN).GetInputs()); n != 1 {
				t.Errorf("%d inputs", n)
			}
		})
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"kafka_read_avro":     "StringDeserializer",
		"kafka_read_nowhere":  "bootstrap.servers",
		"kafka_read_commit":   "group.id",
		"kafka_write_untyped": "with_output_types",
		"jdbc_write_postgres": "com.mysql.cj.jdbc.Driver",
		"jdbc_write_text":     "beam.Row",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := expand(t, name)
			if !strings.Contains(r.err, want) {
				t.Errorf("%q does not contain %q", r.err, want)
			}
			t.Log(r.err)
		})
	}
}
