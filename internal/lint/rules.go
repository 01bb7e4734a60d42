package lint

// rule says what a package, and those below it that have no rule of their own, may know.
type rule struct {
	pkg string // path in the module
	// imports are the packages of the module that it may import, each with those below it.
	imports []string
	// never are imports from outside the module that it must not have, each with those below it.
	never []string
	// pure packages start no goroutine and read no clock: the same input gives the same output.
	pure bool
}

// What packages from outside stand for.
var (
	grpc   = []string{"google.golang.org/grpc"}
	protos = []string{"github.com/apache/beam", "google.golang.org/protobuf"}
	files  = []string{"os", "io/ioutil", "path/filepath", "syscall"}
	nets   = []string{"net"}
	chance = []string{"math/rand", "crypto/rand"}
	locks  = []string{"sync"}
	logs   = []string{"log"}
	clocks = []string{"time"}
)

// rules is the table of allowed arrows. A package without a rule is an error, so that a new one is thought about.
var rules = []rule{
	{
		pkg:     "cmd/fresnel",                                                                                                       // flags and subcommands
		imports: []string{"internal", "translate", "runner", "fnapi", "jobservice", "connectors", "dashboard", "examples", "python"}, // demo runs one
		never:   protos,
	},
	{
		pkg:   "internal/beam", // the vocabulary
		never: join(grpc, protos, files, nets, chance, locks, logs),
		pure:  true,
	},
	{
		pkg:     "internal/coder",
		imports: []string{"internal/beam"},
		never:   join(grpc, files, nets, chance, logs),
		pure:    true,
	},
	{
		pkg:   "internal/rpc", // what gRPC servers have in common, and clients
		never: join(protos, files, nets, chance, locks),
	},
	{
		pkg:   "internal/cores", // how many of the machine's this process has
		never: join(grpc, protos, nets, chance, logs),
	},
	{
		pkg:   "internal/scratch", // temporary directories
		never: join(grpc, protos, nets, chance, logs),
	},
	{
		pkg: "internal/lint",
	},
	{
		pkg: "internal/tools",
	},
	{
		pkg:     "translate", // passes are pure functions
		imports: []string{"internal"},
		never:   join(grpc, files, nets, chance, locks, logs, clocks),
		pure:    true,
	},
	{
		pkg:     "runner/engine", // deterministic: a simulation drives it
		imports: []string{"internal/beam"},
		never:   join(grpc, protos, files, nets, chance, locks, logs),
		pure:    true,
	},
	{
		pkg:     "runner/window",
		imports: []string{"internal", "translate", "runner/state", "runner/store"},
		never:   join(grpc, files, nets, chance, logs),
		pure:    true,
	},
	{
		pkg:     "runner/state",
		imports: []string{"internal", "translate", "runner/store"},
		never:   join(grpc, files, nets),
	},
	{
		pkg:   "runner/store", // bytes in atomic batches
		never: join(grpc, protos, nets),
	},
	{
		pkg:     "runner", // drives the engine
		imports: []string{"internal", "translate", "runner", "fnapi", "jobservice", "connectors"},
		never:   grpc,
	},
	{
		pkg:     "fnapi", // what a harness sees: no plans, no windows
		imports: []string{"internal", "python"},
	},
	{
		pkg: "python", // the source of the Python package
	},
	{
		pkg:     "fnapi/boot/python", // interpreters and virtual environments: no Beam but its version
		imports: []string{"fnapi/boot/child"},
		never:   join(grpc, protos),
	},
	{
		pkg:     "jobservice", // what a client sees: no bundles
		imports: []string{"internal", "connectors"},
	},
	{
		pkg:     "jobservice/jobclient", // what looks after jobs from outside
		imports: []string{"internal", "jobservice"},
	},
	{
		pkg:     "connectors",
		imports: []string{"internal", "connectors"},
	},
	{
		pkg:     "dashboard", // reads snapshots
		imports: []string{"internal"},
		never:   protos,
	},
	{
		pkg:     "integration", // whole-system tests
		imports: []string{"cmd", "internal", "translate", "runner", "fnapi", "jobservice", "connectors", "dashboard", "integration", "examples"},
	},
	{
		pkg: "examples", // users' code: Beam's and the servers' public APIs only
	},
}

// topLevel are the directories that the module's root may have.
var topLevel = []string{
	"cmd", "runner", "fnapi", "translate", "jobservice", "connectors", "dashboard", "integration", "internal",
	"examples", "docs",
	"python", // the Python package that carries the program
	"bin",    // what `make build` makes
}

// nameless are package names that say nothing of what is inside.
var nameless = []string{"util", "utils", "common", "helper", "helpers", "misc", "shared", "types"}

// clockCalls are the functions of package time that read the clock or wait for it.
var clockCalls = []string{
	"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker",
}

func join(lists ...[]string) []string {
	var all []string
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}
