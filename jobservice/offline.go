package jobservice

import (
	"fmt"
	"os"

	"fresnel/internal/beam"
)

// KeptJob is a job of a data directory that no server runs.
type KeptJob struct {
	Submission *Submission
	// Phase tells what a server that opens the directory does with the job: runs,
	// kept or ended.
	Phase   string
	Durable bool
	// Err is why the rest is empty: what is on disk does not parse.
	Err error
}

// Jobs reads the records of all jobs, for who looks at a data directory while no
// server has it. Nothing is changed.
func (d *DataDir) Jobs() ([]KeptJob, error) {
	entries, err := os.ReadDir(d.jobs())
	if err != nil {
		return nil, dataDirError(d.path, err)
	}
	var all []KeptJob
	for _, e := range entries {
		if e.IsDir() {
			all = append(all, d.kept(beam.JobID(e.Name())))
		}
	}
	return all, nil
}

func (d *DataDir) kept(id beam.JobID) KeptJob {
	dir := jobDir{path: d.job(id), seal: d.seal}
	r, err := readRecord(dir.recordPath(), id, d.seal)
	if err != nil {
		return KeptJob{Submission: &Submission{ID: id}, Err: fmt.Errorf("%s: %w", dir.recordPath(), err)}
	}
	k := KeptJob{Phase: string(r.Phase), Durable: r.Durable, Submission: &Submission{ID: id, Name: r.Name,
		Pipeline: r.request.GetPipeline(), Options: r.request.GetPipelineOptions(), Epoch: r.Epoch}}
	if r.Durable {
		k.Submission.Dir, k.Submission.Begun = dir.statePath(), r.Begun
	}
	return k
}
