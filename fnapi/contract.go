package fnapi

import (
	"context"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"

	"fresnel/internal/beam"
)

// This file is what the runner sees of the harnesses: pools of workers that
// process bundles. Payloads of the protos pass through as values; the messages
// of the streams stay inside this package.

// Environment is one environment of a pipeline and how it was asked for.
type Environment struct {
	ID  beam.EnvironmentID
	Env *pipepb.Environment
	// Options are the pipeline options as JSON, for the provision service.
	Options []byte
	// RetrievalEndpoint is where a worker finds its artifacts.
	RetrievalEndpoint string
	// Parallelism is the number of workers wanted; 0 leaves it to the pool.
	Parallelism int
	// ComesBack tells that a service that started workers and is away should be
	// waited for. That of LOOPBACK ends with its job's client.
	ComesBack bool
	// Job names the job for logs.
	Job beam.JobID
}

// PoolEvents is called by a pool as its workers come and go. Calls come from
// the pool's goroutines, one at a time.
type PoolEvents interface {
	// WorkerUp tells of a worker whose control stream is open.
	WorkerUp(w Worker)
	// WorkerLeaving tells that a worker will be lost once it has no bundles: it
	// should get no more.
	WorkerLeaving(w Worker)
	// WorkerLost tells that a worker is gone: all its bundles have failed or will
	// fail with code beam.Unavailable. The pool starts another one by itself.
	WorkerLost(w Worker, err error)
	// PoolFailed tells that no worker can be started (after retries): jobs that
	// need the pool fail with err.
	PoolFailed(err error)
	// Log is one line a worker logged or printed, as LogEntry.
	Log(e LogEntry)
}

// LogEntry is one log line of a harness.
type LogEntry struct {
	Worker    string
	Transform beam.TransformID // as in the descriptor; empty if unknown
	Bundle    string
	Severity  int // LogEntry.Severity.Enum
	At        time.Time
	Message   string
	Trace     string
	Location  string
}

// Pool is a set of workers that serve one environment.
type Pool interface {
	// Settle waits until what the workers have logged was told. A harness sends its
	// log beside its responses, so its last lines come after the last of those:
	// Settle waits for silence, a few milliseconds of it, and not for long. It must
	// not be called from an event call.
	Settle()
	// Close ends the job's use of the pool; warm workers may be kept for the next
	// job with the same environment. It waits for no process, and may be called
	// from anywhere; of the event calls, only the one under way may still run.
	Close()
}

// Descriptor is a stage's ProcessBundleDescriptor without endpoints and id:
// the workers' own are filled in when it is registered. It is immutable.
type Descriptor struct {
	ID    string // unique in the server
	Proto *fnpb.ProcessBundleDescriptor
	// Timers tells that the stage has timers.
	Timers bool
}

// Worker is one SDK harness process, or thread of one.
type Worker interface {
	ID() string
	// Start sends a bundle. The call does not wait: input goes out as the stream
	// takes it. The first bundle of a descriptor registers it.
	Start(b *Bundle) Running
	// Describe tells of stages that bundles will probably come of, the first ones
	// first, so that their first bundles have nothing before them. Stages beyond a
	// fraction of a megabyte are left to their bundles.
	Describe(stages []*Descriptor)
	// Finalize asks for finalization of a bundle that asked for it.
	Finalize(ctx context.Context, bundle string) error
	// MonitoringInfos resolves short ids (cached).
	MonitoringInfos(ctx context.Context, shortIDs []string) (map[string]*pipepb.MonitoringInfo, error)
	// Status is what the harness reports of itself, in its own words: of Python its
	// caches, bundles, and a stack of each thread. A harness that has no status
	// endpoint, as in LOOPBACK, has none.
	Status(ctx context.Context) (string, error)
	// CPU is the time that the worker's processes have taken; ok is false if they are
	// not known here: of containers, and of EXTERNAL workers of other machines or
	// users. What shares a process with the worker counts as well.
	CPU() (t time.Duration, ok bool)
	// Fail gives the worker up: its bundles fail with err, it is stopped, and the
	// pool starts another one.
	Fail(err error)
	// SupportsSplit etc.: capabilities of the environment's proto are the plan's
	// matter and not asked here.
}

// Bundle is one unit of work for a worker.
type Bundle struct {
	// ID is the instruction id, unique in the server.
	ID         string
	Descriptor *Descriptor
	// Input are runs of whole encoded elements for the source transform, sent as
	// they are, cut or joined into frames of about 1 MB at element boundaries that
	// the caller's slices give (a slice is never cut).
	Source beam.TransformID
	Input  [][]byte
	// Timers are runs of encoded timers to fire. They go out before Input: an
	// element of the same bundle may set a timer anew that is due.
	Timers []TimerData
	// Expect lists the data sinks and timer families whose is_last ends the
	// bundle's output.
	Sinks         []beam.TransformID
	TimerFamilies []TimerFamily
	// UserStateToken, if set, is the one cache token for user state (I11);
	// SideInputTokens are tokens by transform and side input.
	UserStateToken  []byte
	SideInputTokens []SideInputToken
	// State answers the bundle's state requests. Calls for one bundle come one at
	// a time, in order.
	State StateHandler
	// Output receives output as it arrives: data from sink transform (family "")
	// or timers of a family. An element may span calls. The bytes are not the
	// callee's to keep. Calls for one bundle come one at a time. An error
	// fails the bundle.
	Output func(from beam.TransformID, family string, data Payload) error
}

// TimerFamily names a timer stream.
type TimerFamily struct {
	Transform beam.TransformID
	Family    string
}

// TimerData is a run of whole encoded timers of one family.
type TimerData struct {
	TimerFamily
	Data []byte
}

// SideInputToken is the cache token of one side input.
type SideInputToken struct {
	Transform beam.TransformID
	Name      string
	Token     []byte
}

// Running is a bundle on its way.
type Running interface {
	// Done is closed when the response and all output have arrived, or the bundle
	// failed. No call of Output or State runs then, and none begins.
	Done() <-chan struct{}
	// Emitted is closed once the ends of all outputs have come and no call of Output
	// runs: none begins any more, while the response may still take a while. It
	// stays open for a bundle without outputs, and for one that failed before.
	Emitted() <-chan struct{}
	// Result is valid once Done is closed. An error of the harness has code
	// beam.UserCode and the whole traceback as What; a lost worker has
	// beam.Unavailable.
	Result() (*Result, error)
	// Split asks the worker to split the bundle: keep about the fraction of
	// what remains (0 = give back all that can be, i.e. checkpoint now). A nil
	// answer means that nothing could be split or the bundle is over. A split that
	// is made after ctx has ended is in the Result's LateSplits: Done waits for it.
	Split(ctx context.Context, s SplitRequest) (*Split, error)
	// Progress asks for metrics and progress of the running bundle; nil if it is
	// over.
	Progress(ctx context.Context) (*Progress, error)
	// Abandon stops waiting: output and response are drained and dropped.
	Abandon()
}

// SplitRequest is a ProcessBundleSplitRequest for the bundle's one source.
type SplitRequest struct {
	Source              beam.TransformID
	FractionOfRemaining float64
	EstimatedInput      int64
	AllowedSplitPoints  []int64
}

// Split is an accepted split.
type Split struct {
	Primaries []Application
	Residuals []Residual
	// LastPrimary and FirstResidual are element indexes of the source's input.
	LastPrimary, FirstResidual int64
}

// Application is a BundleApplication: an element for a transform's input.
type Application struct {
	Transform beam.TransformID
	Input     string
	Element   []byte
	// OutputWatermarks by local output name.
	OutputWatermarks map[string]beam.EventTime
	Unbounded        bool
}

// Residual is a DelayedBundleApplication.
type Residual struct {
	Application
	// Delay is the requested time to wait, 0 if none.
	Delay time.Duration
}

// Result is a ProcessBundleResponse.
type Result struct {
	Residuals            []Residual
	RequiresFinalization bool
	// Monitoring is metrics data by short id; Infos are set if the worker does not
	// use short ids.
	Monitoring map[string][]byte
	Infos      []*pipepb.MonitoringInfo
	infos      []byte // see NamedInfos
	// LateSplits are splits that the worker made, but whose Split call had given
	// up: their residuals were not processed.
	LateSplits []*Split
	// Elapsed is the time from sending to the last of response and outputs.
	Elapsed time.Duration
}

// Progress is a ProcessBundleProgressResponse.
type Progress struct {
	Monitoring map[string][]byte
	Infos      []*pipepb.MonitoringInfo
	// Consumed is the number of input elements that were read, -1 if unknown.
	Consumed int64
}

// StateKind tells which StateKey variant a request has.
type StateKind uint8

// The variants of StateKey.
const (
	StateRunner StateKind = iota // runner-defined: state-backed iterables
	StateIterableSideInput
	StateMultimapSideInput
	StateMultimapKeysSideInput
	StateMultimapKeysValuesSideInput
	StateBag
	StateMultimapKeys
	StateMultimapEntries
	StateMultimap
	StateOrderedList
)

// StateKey is a StateKey proto, flat.
type StateKey struct {
	Kind      StateKind
	Transform beam.TransformID
	// Name is user_state_id or side_input_id.
	Name string
	// Window is the encoded window; Key the encoded user key; MapKey the encoded
	// key of a map entry. For StateRunner, Key is the runner's key.
	Window, Key, MapKey []byte
	// Start and End bound an ordered list's range; HasRange tells if they are set.
	Start, End int64
	HasRange   bool
}

// StateHandler answers state requests of one bundle.
type StateHandler interface {
	// Get returns one page and the token of the next one (nil: the last).
	Get(key StateKey, token []byte) (data, next []byte, err error)
	Append(key StateKey, data []byte) error
	Clear(key StateKey) error
}
