package expansion_test

import (
	"bytes"
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
	"fresnel/integration/parts"
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

// result is what testdata/expand.py printed for a case.
type result struct {
	Case, Type, Error string
	Pipeline          json.RawMessage
	pipeline          pipepb.Pipeline
}

// run runs the script, which takes all its cases at once: it is slow to start.
func run(t *testing.T, args ...string) map[string]*result {
	t.Helper()
	python, err := filepath.Abs("../../.venv/bin/python")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath(python); err != nil {
		t.Skip("no Python environment")
	}
	cmd := exec.CommandContext(t.Context(), python, append([]string{"testdata/expand.py", serve(t)}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	results := map[string]*result{}
	for line := range strings.Lines(string(out)) {
		r := &result{}
		if err := json.Unmarshal([]byte(line), r); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if r.Pipeline != nil {
			if err := protojson.Unmarshal(r.Pipeline, &r.pipeline); err != nil {
				t.Fatal(err)
			}
		}
		if strings.Contains(r.Error, "secret-word") {
			t.Errorf("the error shows the password: %s", r.Error)
		}
		results[r.Case] = r
	}
	return results
}

// transform returns the one transform with the URN.
func (r *result) transform(t *testing.T, urn string) *pipepb.PTransform {
	t.Helper()
	if r.Error != "" {
		t.Fatal(r.Error)
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

func TestPythonClient(t *testing.T) {
	t.Parallel()
	results := run(t)
	expand := func(t *testing.T, name string) *result {
		t.Helper()
		r := results[name]
		if r == nil {
			t.Fatalf("no case %s", name)
		}
		return r
	}
	for name, want := range map[string]string{
		"kafka_read":               "Tuple[Union[<class 'NoneType'>, <class 'bytes'>], Union[<class 'NoneType'>, <class 'bytes'>]]",
		"kafka_read_text":          "Tuple[Union[<class 'NoneType'>, <class 'int'>], Union[<class 'NoneType'>, <class 'str'>]]",
		"kafka_read_metadata":      "'value': typing.Optional[bytes], 'headers':",
		"schema_kafka_read":        "{'payload': <class 'str'>}",
		"schema_kafka_read_errors": "{'failed_row': <class 'bytes'>, 'error_message': <class 'str'>}; {'payload': <class 'bytes'>}",
		"managed_kafka_read":       "{'payload': <class 'bytes'>}",
	} {
		t.Run("type of "+name, func(t *testing.T) { testRead(t, expand(t, name), want, name == "schema_kafka_read_errors") })
	}
	for name, urn := range map[string]string{
		"kafka_write": kafka.WriteURN, "kafka_write_headers": kafka.WriteURN, "jdbc_write": mysql.WriteURN,
		"schema_kafka_write": kafka.WriteURN, "schema_mysql_write": mysql.WriteURN, "managed_mysql_write": mysql.WriteURN,
	} {
		t.Run("the optimizer keeps "+name, func(t *testing.T) { testWrite(t, expand(t, name), urn) })
	}
	t.Run("a bounded read is bounded and redistributed", func(t *testing.T) { testBounded(t, expand(t, "kafka_read_bounded")) })
	t.Run("two schemas do not collide", func(t *testing.T) {
		if r := expand(t, "kafka_read_twice"); r.Error != "" {
			t.Error(r.Error)
		}
	})
	for name, want := range map[string]string{
		"kafka_read_avro":        "StringDeserializer",
		"kafka_read_nowhere":     "bootstrap.servers",
		"kafka_read_commit":      "group.id",
		"kafka_write_untyped":    "with_output_types",
		"jdbc_write_postgres":    "com.mysql.cj.jdbc.Driver",
		"jdbc_write_text":        "beam.Row",
		"schema_kafka_read_json": "STRING",
		"schema_kafka_write_raw": "one field of bytes",
		"schema_unknown":         "mysql_write",
		"managed_broken":         "colour",
	} {
		t.Run("error of "+name, func(t *testing.T) {
			r := expand(t, name)
			if !strings.Contains(r.Error, want) {
				t.Errorf("%q does not contain %q", r.Error, want)
			}
			t.Log(r.Error)
		})
	}
}

func testRead(t *testing.T, r *result, want string, bounded bool) {
	read := r.transform(t, kafka.ReadURN)
	if !strings.Contains(r.Type, want) {
		t.Errorf("the element type is %s, want %s", r.Type, want)
	}
	if got := r.output(t, read).GetIsBounded(); (got == pipepb.IsBounded_BOUNDED) != bounded {
		t.Errorf("the output is %v", got)
	}
	if read.GetEnvironmentId() != "" || len(read.GetSpec().GetPayload()) == 0 {
		t.Errorf("the native transform is %v", read)
	}
}

func testWrite(t *testing.T, r *result, urn string) {
	write := r.transform(t, urn)
	if len(write.GetInputs()) != 1 || len(write.GetOutputs()) != 1 {
		t.Fatalf("%d inputs, %d outputs", len(write.GetInputs()), len(write.GetOutputs()))
	}
	for _, id := range write.GetInputs() {
		if r.pipeline.GetComponents().GetPcollections()[id] == nil {
			t.Errorf("the input %s is not described", id)
		}
	}
	if !strings.HasSuffix(write.GetUniqueName(), "/Write") {
		t.Errorf("its name is %q", write.GetUniqueName())
	}
}

func testBounded(t *testing.T, r *result) {
	for _, urn := range []string{kafka.ReadURN, "beam:transform:redistribute_arbitrarily:v1"} {
		if got := r.output(t, r.transform(t, urn)).GetIsBounded(); got != pipepb.IsBounded_BOUNDED {
			t.Errorf("the output of %s is %v", urn, got)
		}
	}
}

func TestPythonReadsADatabase(t *testing.T) {
	if testing.Short() {
		t.Skip("a real MariaDB server")
	}
	t.Parallel()
	m := parts.StartMariaDB(t)
	_, err := m.DB(t).ExecContext(t.Context(), `CREATE TABLE everything (n INT PRIMARY KEY, s VARCHAR(10), flag TINYINT(1), big BIGINT, d DOUBLE, f FLOAT,
		de DECIMAL(10,2), day DATE, at DATETIME(6), raw BLOB)`)
	if err != nil {
		t.Fatal(err)
	}
	results := run(t, m.JDBCURL(), parts.MariaDBUser, parts.MariaDBPassword, "everything")
	all := "{'n': <class 'numpy.int32'>, 's': typing.Optional[str], 'flag': typing.Optional[bool], 'big': typing.Optional[numpy.int64], " +
		"'d': typing.Optional[numpy.float64], 'f': typing.Optional[numpy.float32], 'de': typing.Optional[decimal.Decimal], " +
		"'day': typing.Optional[datetime.date], 'at': typing.Optional[apache_beam.utils.timestamp.Timestamp], 'raw': typing.Optional[bytes]}"
	for name, want := range map[string]string{
		"jdbc_read":          all,
		"schema_jdbc_read":   "{'s': typing.Optional[str], 'n': <class 'numpy.int32'>}",
		"managed_mysql_read": all,
	} {
		r := results[name]
		if r == nil {
			t.Fatalf("no case %s", name)
		}
		read := r.transform(t, mysql.ReadURN)
		if r.Type != want {
			t.Errorf("%s: the type is %s, want %s", name, r.Type, want)
		}
		if got := r.output(t, read).GetIsBounded(); got != pipepb.IsBounded_BOUNDED {
			t.Errorf("%s: the output is %v", name, got)
		}
	}
}
