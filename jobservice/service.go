package jobservice

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"fresnel/internal/beam"
)

// Config is what a Service is made from.
type Config struct {
	// Runner runs the jobs.
	Runner Runner
	// ArtifactDir is where staged artifacts are kept; it is made if missing. It is
	// not used with Data, which has a place for them.
	ArtifactDir string
	// Data is where jobs are kept that survive this server; nil for none.
	Data *DataDir
	// Expansion is served on the same port, if set.
	Expansion jobpb.ExpansionServiceServer
	// Log is slog.Default() if nil.
	Log *slog.Logger
	// Endpoint is the host:port where harnesses reach this server. If it is
	// known only after New, SetEndpoint gives it.
	Endpoint string
}

// Service is the table of jobs, with the gRPC services around it.
type Service struct {
	runner    Runner
	expansion jobpb.ExpansionServiceServer
	store     *store
	data      *DataDir // nil for none
	log       *slog.Logger
	running   sync.WaitGroup // the goroutines of jobs, and of tidying

	keep   retention
	untidy atomic.Bool // tidying is due

	// stagings is held for reading while a client stages artifacts, and for
	// writing while those are removed that no job refers to.
	stagings sync.RWMutex

	mu       sync.Mutex
	endpoint string
	jobs     map[beam.JobID]*job
	tokens   map[string]*job
	closed   bool
}

// New makes a Service. It touches the disk only when artifacts are staged or
// jobs run; Recover reads what is in cfg.Data.
func New(cfg Config) *Service {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Data != nil {
		cfg.ArtifactDir = cfg.Data.artifacts()
	}
	return &Service{
		runner:    cfg.Runner,
		expansion: cfg.Expansion,
		store:     newStore(cfg.ArtifactDir),
		data:      cfg.Data,
		log:       cfg.Log,
		keep:      defaultRetention,
		endpoint:  cfg.Endpoint,
		jobs:      map[beam.JobID]*job{},
		tokens:    map[string]*job{},
	}
}

// Register adds the Job, artifact and (if configured) Expansion services, and
// that of StopMethod.
func (s *Service) Register(r grpc.ServiceRegistrar) {
	jobpb.RegisterJobServiceServer(r, &jobAPI{service: s})
	jobpb.RegisterArtifactStagingServiceServer(r, &stagingAPI{service: s})
	jobpb.RegisterArtifactRetrievalServiceServer(r, &retrievalAPI{store: s.store})
	r.RegisterService(&ownAPI, s)
	if s.expansion != nil {
		jobpb.RegisterExpansionServiceServer(r, s.expansion)
	}
}

// SetEndpoint tells where harnesses reach this server.
func (s *Service) SetEndpoint(hostPort string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endpoint = hostPort
}

func (s *Service) getEndpoint() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.endpoint
}

// Close refuses new jobs, cuts durable ones off, so that the next server goes on
// with them, cancels the others, and waits until their runners have returned or
// ctx is done.
func (s *Service) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	for _, j := range s.all() {
		j.suspend()
	}
	ended := make(chan struct{})
	go func() {
		s.running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// JobInfo is what is known of one job at a moment.
type JobInfo struct {
	ID    beam.JobID
	Name  string
	State jobpb.JobState_Enum
	// Since is when State began.
	Since time.Time
	// Prepared and Started are when the client called Prepare and Run; Started
	// is zero in a job that has not run.
	Prepared, Started time.Time
	// Error is why the job failed; empty otherwise.
	Error string
	// Durable tells whether the job survives the server.
	Durable bool
	// Epoch counts the job's runs.
	Epoch int64
	// Kept tells that the job was stopped, and waits for another Run to go on.
	Kept bool
}

// Ended tells whether the job has reached its last state.
func (i JobInfo) Ended() bool { return terminal(i.State) }

// Jobs returns all jobs of the table, the newest first.
func (s *Service) Jobs() []JobInfo {
	jobs := s.all()
	infos := make([]JobInfo, len(jobs))
	for i, j := range jobs {
		infos[i] = j.info()
	}
	return infos
}

// Cancel begins to end a job and returns its state, as the RPC does.
func (s *Service) Cancel(id beam.JobID) (jobpb.JobState_Enum, error) {
	j, err := s.find(string(id))
	if err != nil {
		return jobpb.JobState_UNSPECIFIED, err
	}
	defer j.settle() // if it did not run
	return j.requestCancel("the job was cancelled on request"), nil
}

// Stop cuts a durable job off and keeps its state: it goes to STOPPED, and
// another Run of the same id goes on from there, in this server or a later one.
// It returns the state that the job has now.
func (s *Service) Stop(id beam.JobID) (jobpb.JobState_Enum, error) {
	j, err := s.find(string(id))
	if err != nil {
		return jobpb.JobState_UNSPECIFIED, err
	}
	return j.requestStop()
}

// Halt has a durable job come to a rest, in which nothing is under way that can
// be finished, and then stops it as Stop does: so it can go on with a pipeline that
// has changed.
func (s *Service) Halt(id beam.JobID) (jobpb.JobState_Enum, error) {
	j, err := s.find(string(id))
	if err != nil {
		return jobpb.JobState_UNSPECIFIED, err
	}
	return j.requestHalt()
}

// Inspect tells, in JSON, what a job that runs, or was stopped, has in its state.
func (s *Service) Inspect(id beam.JobID) ([]byte, error) {
	j, err := s.find(string(id))
	if err != nil {
		return nil, err
	}
	looker, ok := s.runner.(Looker)
	j.mu.Lock()
	there := j.runs() || j.idle == idleKept && j.takenBy == ""
	j.mu.Unlock()
	if !ok || !there {
		return nil, status.Errorf(codes.FailedPrecondition, "job %s neither runs nor waits: nothing is kept of it", id)
	}
	return looker.Look(j.submission(""))
}

// Drain asks a job to stop its sources and finish, and returns its state, as
// the RPC does.
func (s *Service) Drain(id beam.JobID) (jobpb.JobState_Enum, error) {
	j, err := s.find(string(id))
	if err != nil {
		return jobpb.JobState_UNSPECIFIED, err
	}
	return j.requestDrain()
}

// all returns the jobs, the newest first.
func (s *Service) all() []*job {
	s.mu.Lock()
	defer s.mu.Unlock()
	jobs := make([]*job, 0, len(s.jobs))
	for _, j := range s.jobs {
		jobs = append(jobs, j)
	}
	slices.SortFunc(jobs, func(a, b *job) int {
		return cmp.Or(b.created.Compare(a.created), strings.Compare(string(b.id), string(a.id)))
	})
	return jobs
}

// find returns the job with this id.
func (s *Service) find(id string) (*job, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.jobs[beam.JobID(id)]; j != nil {
		return j, nil
	}
	return nil, status.Errorf(codes.NotFound,
		"there is no job %q: Prepare and Run give out the ids, and of the jobs that ended only the newest are kept", cut(id, 200))
}

// staged returns the job that a staging token was given for.
func (s *Service) staged(token string) (*job, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.tokens[token]; j != nil {
		return j, nil
	}
	return nil, status.Error(codes.NotFound, "no job waits for artifacts under this staging token")
}

// add puts a prepared job in the table.
func (s *Service) add(j *job) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	s.jobs[j.id] = j
	s.tokens[j.token] = j
	return nil
}

var errClosed = status.Error(codes.Unavailable, "the server is shutting down")

// launch runs a prepared job in a goroutine of its own.
func (s *Service) launch(j *job) error {
	if !s.beginRun() {
		return errClosed
	}
	ctx, cancel := context.WithCancel(context.Background())
	if err := s.reserve(j); err != nil {
		cancel()
		s.running.Done()
		return err
	}
	first, err := j.start(cancel)
	if err != nil || !first {
		cancel()
		s.running.Done()
		return err
	}
	submission, err := s.place(j)
	go func() {
		defer s.running.Done()
		defer s.tidy()
		defer s.release(j)
		defer cancel()
		if err != nil {
			j.end(err)
			return
		}
		j.run(ctx, s.runner, submission)
	}()
	return err
}

// beginRun makes Close wait for one more job, unless Close was called before.
func (s *Service) beginRun() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.running.Add(1)
	}
	return !s.closed
}

// newID makes a job id that people can read and no other server gives out.
func newID(name string, at time.Time) beam.JobID {
	return beam.JobID(slug(name) + "-" + at.UTC().Format("20060102-150405") + "-" + randomHex(3))
}

// slug keeps of a job's name what is safe in file names, URLs and topics.
func slug(name string) string {
	const keep = 40
	var b strings.Builder
	for _, r := range strings.ToLower(name) {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
		if b.Len() >= keep {
			break
		}
	}
	return cmp.Or(strings.Trim(b.String(), "-"), "job")
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: crypto/rand
	return hex.EncodeToString(b)
}
