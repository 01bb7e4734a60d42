package jobservice

import (
	"math"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"
)

var someOptions = ParseOptions(options(map[string]any{
	"beam:option:job_name:v1":               "cdn",
	"beam:option:sdk_worker_parallelism:v1": "4",
	"beam:option:experiments:v1":            []any{"beam_fn_api", "data_buffer_time_limit_ms=50", "a,b"},
	"beam:option:streaming:v1":              true,
	"beam:option:environment_type:v1":       "loopback",
	"beam:option:number:v1":                 12.0,
	"beam:option:fraction:v1":               1.5,
	"beam:option:object:v1":                 map[string]any{"a": 1},
	"beam:option:nothing:v1":                nil,
	"bare":                                  "yes",
	"job_name":                              "the URN wins",
}))

func TestOptionsReadWhatTheSDKsSend(t *testing.T) {
	t.Parallel()
	o := someOptions
	wantEqual(t, "Str", o.Str("job_name", "x"), "cdn")
	wantEqual(t, "Str of a number", o.Str("number", "x"), "12")
	wantEqual(t, "Str of an object", o.Str("object", "x"), "x")
	wantEqual(t, "Str of null", o.Str("nothing", "x"), "x")
	wantEqual(t, "Has null", o.Has("nothing"), false)
	wantEqual(t, "Int of a string", must(o.Int("sdk_worker_parallelism", 1)), int64(4))
	wantEqual(t, "Int of a number", must(o.Int("number", 1)), int64(12))
	wantEqual(t, "Int of nothing", must(o.Int("nothing", 7)), int64(7))
	wantEqual(t, "Bool", must(o.Bool("streaming", false)), true)
	wantEqual(t, "Bool of a string", must(o.Bool("bare", false)), true)
	wantEqual(t, "Bool of nothing", must(o.Bool("nothing", true)), true)
	wantEqual(t, "List", o.List("experiments"), []string{"beam_fn_api", "data_buffer_time_limit_ms=50", "a", "b"})
	wantEqual(t, "List of a string", o.List("job_name"), []string{"cdn"})
	wantEqual(t, "List of nothing", o.List("nothing"), nil)
	value, ok := o.Experiment("data_buffer_time_limit_ms")
	wantEqual(t, "Experiment", value, "50")
	wantEqual(t, "Experiment is there", ok, true)
	_, ok = o.Experiment("data_buffer")
	wantEqual(t, "another Experiment", ok, false)
	wantEqual(t, "Streaming", o.Streaming(), true)
	wantEqual(t, "WorkerParallelism", o.WorkerParallelism(), 4)
	wantEqual(t, "EnvironmentType", o.EnvironmentType(), "LOOPBACK")
	wantEqual(t, "Names", o.Names(), []string{"bare", "environment_type", "experiments", "fraction",
		"job_name", "number", "object", "sdk_worker_parallelism", "streaming"})
}

func TestOptionsThatCannotBeReadNameTheFlag(t *testing.T) {
	t.Parallel()
	_, fraction := someOptions.Int("fraction", 1)
	_, word := someOptions.Int("job_name", 1)
	_, object := someOptions.Int("object", 1)
	_, truth := someOptions.Bool("job_name", true)
	for name, err := range map[string]error{"--fraction": fraction, "--job_name": word, "--object": object} {
		wantCode(t, name, statusOf(err), codes.InvalidArgument, name, "is not a whole number")
	}
	wantCode(t, "Bool", statusOf(truth), codes.InvalidArgument, "is not true or false")
}

func TestOptionsSurviveOddStructs(t *testing.T) {
	t.Parallel()
	odd := &structpb.Struct{Fields: map[string]*structpb.Value{
		"nil": nil, "empty": {}, "beam:option:": structpb.NewStringValue("x"),
		"nan": structpb.NewNumberValue(math.NaN()), "huge": structpb.NewNumberValue(1e300),
		"list": structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{nil, {}}}),
	}}
	for _, o := range []Options{{}, ParseOptions(nil), ParseOptions(odd)} {
		for _, name := range append(o.Names(), "nil", "other", "") {
			o.Str(name, "")
			o.List(name)
			_, _ = o.Bool(name, false)
			if n, err := o.Int(name, 3); err == nil && n != 3 {
				t.Errorf("Int(%q) = %d", name, n)
			}
		}
	}
}

func TestPrepareChecksItsOwnOptions(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]string{
		"durability": "tape", "bundle_retries": "-1", "streaming": "maybe", "sdk_worker_parallelism": "x",
	} {
		o := ParseOptions(options(map[string]any{"beam:option:" + name + ":v1": value}))
		wantCode(t, name, statusOf(o.validate()), codes.InvalidArgument, "--"+name, value)
	}
	good := map[string]any{"durability": "disk", "bundle_retries": "3", "sdk_worker_parallelism": "0"}
	if err := ParseOptions(options(good)).validate(); err != nil {
		t.Error(err)
	}
}
