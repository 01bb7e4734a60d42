package jobservice

import (
	"strings"
	"testing"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
)

// TestPasswordsInOptionsAreNotShown: what GetJobs tells, and what lines of workers
// have, which print all options when they start.
func TestPasswordsInOptionsAreNotShown(t *testing.T) {
	given := options(map[string]any{"beam:option:db_password:v1": `s3cr3t'w\rd`, "api_token": "t0k3n-t0k3n", "my_credentials": []any{"list3d"},
		"job_name": "plain", "short_password": "no"})
	o := ParseOptions(given)
	conceal := o.Conceal()
	for _, text := range []string{`--db_password=s3cr3t'w\rd`, `['--db_password=s3cr3t\'w\\rd']`, `["--db_password=s3cr3t'w\\rd"]`, "t0k3n-t0k3n", "list3d"} {
		shown := conceal.Replace("Discarding unparseable args: " + text + " of plain")
		if strings.Contains(shown, "3") || !strings.Contains(shown, "***") || !strings.HasSuffix(shown, " of plain") {
			t.Errorf("%s is shown as %s", text, shown)
		}
	}
	if c := ParseOptions(options(map[string]any{"job_name": "plain", "short_password": "no"})).Conceal(); c != nil {
		t.Error("there is something to conceal")
	}
	bubble(t, fakeRunner{}, func(f *fixture) {
		must(f.jobs.Prepare(f.ctx(), &jobpb.PrepareJobRequest{Pipeline: aPipeline(), PipelineOptions: given})) // and never run
		for _, j := range must(f.jobs.GetJobs(f.ctx(), &jobpb.GetJobsRequest{})).GetJobInfo() {
			shown := j.GetPipelineOptions().GetFields()
			if len(shown) != 5 || shown["job_name"].GetStringValue() != "plain" || strings.Contains(j.GetPipelineOptions().String(), "3") {
				t.Errorf("it shows %v", j)
			}
		}
	})
}
