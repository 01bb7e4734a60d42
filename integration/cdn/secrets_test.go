package cdn_test

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"fresnel/examples/cdn"
	"fresnel/integration/parts"
)

// secrets: of the password of the database, in the configuration of the sink, of
// that of the broker, in the source's, and of one in the pipeline's options nothing
// is in clear on disk, in logs, messages, metrics, or in what the server tells of
// the job.
func (s *site) secrets(t *testing.T) {
	const password, token = "pa55-of-the-table", "t0k3n-of-the-pipeline"
	log, table := cdn.NewLog(4), s.table(t)
	for _, statement := range []string{"CREATE USER teller IDENTIFIED BY '" + password + "'", "GRANT ALL ON *.* TO teller"} {
		if _, err := s.db.DB(t).ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.topic(t, log).Write(t.Context(), 20_000); err != nil {
		t.Fatal(err)
	}
	args := []string{example(t, "pipeline.py"), "--bootstrap_servers=" + s.kafka.SASLAddr(), "--topic=" + name(t), table.Options()[0],
		"--username=teller", "--password=" + password,
		"--consumer_config=security.protocol=SASL_PLAINTEXT", "--consumer_config=sasl.mechanism=SCRAM-SHA-512",
		"--consumer_config=sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required username=\"" +
			parts.KafkaUser + "\" password=\"" + parts.KafkaPassword + "\";"}
	w := &watcher{t: t, table: table, client: s.run(t, "PROCESS", args...)}
	if err := s.run(t, "PROCESS", filepath.Join("testdata", "vault.py"), "--vault_token="+token).Err(); err != nil {
		t.Error(err)
	}
	w.awaitExact(log.Totals(), 2*time.Minute)
	id, _, err := w.client.Job(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string][]byte{"the server's log": []byte(s.server.Output()), "the client's output": []byte(w.client.Output())}
	s.told(t, id, shown)
	files(t, s.server.DataDir(), shown)
	if len(shown) < 10 {
		t.Errorf("only %d things were looked at", len(shown))
	}
	for what, data := range shown {
		for _, secret := range []string{password, token, parts.KafkaPassword} {
			if at := bytes.Index(data, []byte(secret)); at >= 0 {
				t.Errorf("%s: %q", what, data[max(0, at-200):at+len(secret)])
			}
		}
	}
	if !strings.Contains(s.server.Output(), "--vault_token=***") {
		t.Error("no worker printed its options: nothing was tested")
	}
	end(t, w.client.Cancel, jobpb.JobState_CANCELLED)
}

// told is all that the job API and `fresnel jobs` tell.
func (s *site) told(t *testing.T, id string, shown map[string][]byte) {
	conn, err := grpc.NewClient(s.server.Endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }() // nothing was written
	api := jobpb.NewJobServiceClient(conn)
	note := func(what string, m proto.Message, err error) {
		data, bad := proto.Marshal(m)
		if err != nil || bad != nil || len(data) == 0 {
			t.Errorf("%s: %d bytes, %v, %v", what, len(data), err, bad)
		}
		shown[what] = data
	}
	jobs, err := api.GetJobs(t.Context(), &jobpb.GetJobsRequest{})
	note("GetJobs", jobs, err)
	pipeline, err := api.GetPipeline(t.Context(), &jobpb.GetJobPipelineRequest{JobId: id})
	note("GetPipeline", pipeline, err)
	metrics, err := api.GetJobMetrics(t.Context(), &jobpb.GetJobMetricsRequest{JobId: id})
	note("GetJobMetrics", metrics, err)
	for _, command := range [][]string{{"list"}, {"show", id}, {"metrics", id}, {"inspect", id}} {
		argv := append([]string{"jobs", command[0], "--server=" + s.server.Endpoint}, command[1:]...)
		out, err := exec.CommandContext(t.Context(), s.binary, argv...).CombinedOutput()
		if err != nil {
			t.Errorf("%q: %v\n%s", argv, err, out)
		}
		shown["fresnel jobs "+command[0]] = out
	}
}

// files are all under a directory.
func files(t *testing.T, dir string, shown map[string][]byte) {
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			data, err := os.ReadFile(path)
			if err == nil { // else it has just been removed
				shown[path] = data
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
