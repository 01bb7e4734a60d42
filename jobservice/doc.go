// Package jobservice is the side of Fresnel that clients see: Beam's Job API,
// the staging and retrieval of artifacts, and the table of jobs with their
// messages, states and metrics. It runs nothing itself: a [Runner] does.
//
//	client                         Service                        Runner
//	  ── Prepare ───────────▶ validate, new job (STOPPED) ──Check──▶
//	  ── ReverseArtifact... ▶ store: content-addressed files
//	  ── Run ───────────────▶ job's goroutine (STARTING) ───Run────▶
//	  ◀─ GetStateStream ────┐                             ◀─Running─┤
//	  ◀─ GetMessageStream ──┴─ history of the job         ◀─Message─┤
//	  ◀─ GetJobMetrics ─────── last reader set            ◀─Metrics─┘
//	harness ── GetArtifact ──▶ store
//
// What it promises:
//
//   - A stream of a job begins with its first state, goes on while the job
//     does, and ends right after the terminal state. The error that ended the
//     job is the last message before it.
//   - Nothing that a client sends, or stops reading, makes the server panic,
//     block or grow without bound (I7): messages are kept up to a limit, jobs
//     that ended or never ran too, and no job waits for a reader.
//   - A job belongs to the server once it runs: the client may go away.
//   - With a data directory, jobs are in the table of the next server too, with
//     all that they told, and it goes on with those that the runner calls
//     durable. What may hold passwords is sealed on the disk.
//
// To read the source: contract.go (the seam to the runner), service.go (the
// table of jobs), job.go (one job's life), history.go (what streams replay),
// survive.go and recover.go (how jobs outlive their run and their server),
// datadir.go, jobdir.go, record.go, joblog.go and seal.go (what is on the disk),
// jobapi.go (the RPCs), staging.go, retrieval.go and store.go (artifacts),
// validate.go (what Prepare refuses), options.go (pipeline options).
package jobservice
