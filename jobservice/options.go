package jobservice

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	"google.golang.org/protobuf/types/known/structpb"

	"fresnel/internal/beam"
)

// Options reads a client's pipeline options by name, whatever SDK sent them:
// names come as beam:option:<name>:v1 or bare, and Python sends integers as
// strings. The zero value has no options.
type Options struct {
	values map[string]*structpb.Value
}

// ParseOptions reads the options of a Prepare request; nil has none. It never
// fails: a value that cannot be read is an error of the one that asks for it.
func ParseOptions(s *structpb.Struct) Options {
	o := Options{values: make(map[string]*structpb.Value, len(s.GetFields()))}
	for key, value := range s.GetFields() {
		if _, null := value.GetKind().(*structpb.Value_NullValue); null || value.GetKind() == nil {
			continue
		}
		name, urn := optionName(key)
		if _, taken := o.values[name]; urn || !taken {
			o.values[name] = value
		}
	}
	return o
}

// optionName returns the name in an option's key, and whether the key is a URN.
func optionName(key string) (name string, urn bool) {
	name, urn = strings.CutPrefix(key, "beam:option:")
	if urn {
		name, _, _ = strings.Cut(name, ":")
	}
	return name, urn
}

// Has tells whether the option was given.
func (o Options) Has(name string) bool { return o.values[name] != nil }

// Names returns the names of all options, sorted.
func (o Options) Names() []string { return slices.Sorted(maps.Keys(o.values)) }

// Str returns an option as text; numbers and booleans are spelled out. It is
// otherwise if the option was not given, or is a list or an object.
func (o Options) Str(name, otherwise string) string {
	if text, ok := scalar(o.values[name]); ok {
		return text
	}
	return otherwise
}

// Int returns an option as a whole number, otherwise if it was not given.
func (o Options) Int(name string, otherwise int64) (int64, error) {
	value := o.values[name]
	if value == nil {
		return otherwise, nil
	}
	if number, ok := value.GetKind().(*structpb.Value_NumberValue); ok {
		f := number.NumberValue
		if f != math.Trunc(f) || math.Abs(f) > 1<<53 {
			return otherwise, badOption(name, "is not a whole number", value)
		}
		return int64(f), nil
	}
	n, err := strconv.ParseInt(strings.TrimSpace(value.GetStringValue()), 10, 64)
	if err != nil {
		return otherwise, badOption(name, "is not a whole number", value)
	}
	return n, nil
}

// Bool returns an option as a truth value, otherwise if it was not given.
func (o Options) Bool(name string, otherwise bool) (bool, error) {
	value := o.values[name]
	if value == nil {
		return otherwise, nil
	}
	text, _ := scalar(value)
	switch strings.ToLower(text) {
	case "true", "1", "yes":
		return true, nil
	case "false", "0", "no":
		return false, nil
	}
	return otherwise, badOption(name, "is not true or false", value)
}

// List returns an option that may be given several times. Commas separate
// items too, as in all SDKs' flags for experiments.
func (o Options) List(name string) []string {
	var items []string
	add := func(v *structpb.Value) {
		text, _ := scalar(v)
		for item := range strings.SplitSeq(text, ",") {
			if item = strings.TrimSpace(item); item != "" {
				items = append(items, item)
			}
		}
	}
	if list := o.values[name].GetListValue(); list != nil {
		for _, v := range list.GetValues() {
			add(v)
		}
		return items
	}
	add(o.values[name])
	return items
}

// Experiment tells whether --experiments has name, or name=value.
func (o Options) Experiment(name string) (value string, ok bool) {
	for _, item := range o.List("experiments") {
		if key, value, _ := strings.Cut(item, "="); key == name {
			return value, true
		}
	}
	return "", false
}

// Streaming tells whether the client asked for streaming; Prepare has checked
// that the value can be read.
func (o Options) Streaming() bool {
	streaming, _ := o.Bool("streaming", false)
	return streaming
}

// WorkerParallelism is --sdk_worker_parallelism, the number of workers for
// each environment: 0 leaves it to the server. The Python client always sends
// it, and 1 where the user said nothing.
func (o Options) WorkerParallelism() int {
	n, _ := o.Int("sdk_worker_parallelism", 0)
	return int(min(max(n, 0), math.MaxInt32))
}

// EnvironmentType is --environment_type, in capitals: DOCKER, PROCESS,
// EXTERNAL, LOOPBACK, or empty. (What counts is each environment's own URN.)
func (o Options) EnvironmentType() string {
	return strings.ToUpper(o.Str("environment_type", ""))
}

// scalar spells out a string, number or boolean.
func scalar(v *structpb.Value) (string, bool) {
	switch kind := v.GetKind().(type) {
	case *structpb.Value_StringValue:
		return kind.StringValue, true
	case *structpb.Value_NumberValue:
		return strconv.FormatFloat(kind.NumberValue, 'f', -1, 64), true
	case *structpb.Value_BoolValue:
		return strconv.FormatBool(kind.BoolValue), true
	}
	return "", false
}

func badOption(name, what string, value *structpb.Value) error {
	text, ok := scalar(value)
	if !ok {
		text = "a list or an object"
	}
	return &beam.Error{Code: beam.InvalidPipeline, Where: "option --" + name, What: fmt.Sprintf("%q %s", cut(text, 200), what)}
}

// option is a pipeline option of Fresnel's own.
type option struct {
	name, help string
	kind       jobpb.PipelineOptionType_Enum
	check      func(o Options, name string) error
}

// ownOptions are described to clients, which then accept them as flags. None
// has a default there and none is BOOLEAN, so that what the user did not give
// is not sent. They are few and oddly named on purpose: where a pipeline has an
// option of the same name, the Python client sends that, with another meaning.
var ownOptions = []option{
	{"durability", "Where the job's state lives: memory or disk. Default: disk for unbounded jobs whose workers Fresnel can start again, else memory.",
		jobpb.PipelineOptionType_STRING, oneOf("memory", "disk")},
	{restoreOption, "The job that was stopped, and whose state this pipeline is to go on from: its id, the beginning of one, or its name.",
		jobpb.PipelineOptionType_STRING, anything},
	{"allow_lost_state", "With " + restoreOption + ": names of steps, with commas between, whose state may be lost where it does not fit the pipeline.",
		jobpb.PipelineOptionType_STRING, anything},
	{"bundle_retries", "How often a bundle is tried again after an exception of user code, each time after twice the wait. Default: 0 in bounded jobs, 4 in unbounded ones.",
		jobpb.PipelineOptionType_INTEGER, notNegative},
}

func describeOptions() []*jobpb.PipelineOptionDescriptor {
	descriptors := make([]*jobpb.PipelineOptionDescriptor, len(ownOptions))
	for i, o := range ownOptions {
		descriptors[i] = &jobpb.PipelineOptionDescriptor{Name: o.name, Type: o.kind, Description: o.help, Group: "Fresnel"}
	}
	return descriptors
}

// validate checks the options that the server reads.
func (o Options) validate() error {
	for _, own := range ownOptions {
		if o.Has(own.name) {
			if err := own.check(o, own.name); err != nil {
				return err
			}
		}
	}
	if _, err := o.Bool("streaming", false); err != nil {
		return err
	}
	return notNegative(o, "sdk_worker_parallelism")
}

func oneOf(choices ...string) func(Options, string) error {
	return func(o Options, name string) error {
		if slices.Contains(choices, o.Str(name, "")) {
			return nil
		}
		return badOption(name, "is not one of "+strings.Join(choices, ", "), o.values[name])
	}
}

func anything(Options, string) error { return nil }

func notNegative(o Options, name string) error {
	n, err := o.Int(name, 0)
	if err == nil && n < 0 {
		err = badOption(name, "is negative", o.values[name])
	}
	return err
}
