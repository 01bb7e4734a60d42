package translate

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"fresnel/internal/beam"
)

// pipe builds pipelines by hand, with the coders and windows that tests like.
type pipe struct{ *pipepb.Pipeline }

func newPipe() pipe {
	p := pipe{&pipepb.Pipeline{Components: &pipepb.Components{
		Transforms:          map[string]*pipepb.PTransform{},
		Pcollections:        map[string]*pipepb.PCollection{},
		WindowingStrategies: map[string]*pipepb.WindowingStrategy{},
		Coders:              map[string]*pipepb.Coder{},
		Environments: map[string]*pipepb.Environment{
			"py":   {Urn: "beam:env:external:v1", Capabilities: []string{urnTruncateSized, urnStateBackedIterable}},
			"java": {Urn: "beam:env:external:v1"},
		},
	}}}
	p.coder("bytes", urnBytes)
	p.coder("varint", urnVarInt)
	p.coder("mine", "my:coder")
	p.coder("nullable", urnNullable, "bytes")
	p.coder("kv", urnKV, "bytes", "varint")
	p.coder("kvmine", urnKV, "mine", "mine")
	p.coder("iter", urnIterable, "varint")
	p.coder("grouped", urnKV, "bytes", "iter")
	p.coder("itermine", urnIterable, "mine")
	p.coder("groupedmine", urnKV, "mine", "itermine")
	p.coder("records", urnKV, "nullable", "nullable")
	p.coder("global_window", urnGlobalWindow)
	p.coder("interval", urnIntervalWindow)
	p.coder("mywindow", "my:window")
	p.windows("global", urnGlobalWindows, "global_window", pipepb.MergeStatus_NON_MERGING)
	p.windows("fixed", urnFixedWindows, "interval", pipepb.MergeStatus_NON_MERGING)
	p.windows("mine", "my:window_fn", "mywindow", pipepb.MergeStatus_NEEDS_MERGE)
	return p
}

func (p pipe) coder(id, urn string, comps ...string) {
	p.Components.Coders[id] = &pipepb.Coder{Spec: &pipepb.FunctionSpec{Urn: urn}, ComponentCoderIds: comps}
}

func (p pipe) windows(id, urn, coder string, merges pipepb.MergeStatus_Enum) {
	p.Components.WindowingStrategies[id] = &pipepb.WindowingStrategy{
		WindowFn: windowFn(urn), WindowCoderId: coder, MergeStatus: merges, EnvironmentId: "py",
	}
}

// add appends a transform. Inputs and outputs are words such as "out=b:kv/fixed":
// local name, collection, and where it is made, coder and windowing (global if
// none).
func (p pipe) add(id, urn string, payload proto.Message, ports ...string) *pipepb.PTransform {
	t := &pipepb.PTransform{UniqueName: strings.ToUpper(id[:1]) + id[1:], EnvironmentId: "py",
		Inputs: map[string]string{}, Outputs: map[string]string{}, Spec: &pipepb.FunctionSpec{Urn: urn}}
	if payload != nil {
		t.Spec.Payload = marshal(payload)
	}
	for _, port := range ports {
		local, coll, _ := strings.Cut(port, "=")
		coll, coder, made := strings.Cut(coll, ":")
		if !made {
			t.Inputs[local] = coll
			continue
		}
		t.Outputs[local] = coll
		coder, windowing, _ := strings.Cut(coder, "/")
		if windowing == "" {
			windowing = "global"
		}
		bounded := pipepb.IsBounded_BOUNDED
		if strings.HasPrefix(coll, "u_") {
			bounded = pipepb.IsBounded_UNBOUNDED
		}
		p.Components.Pcollections[coll] = &pipepb.PCollection{UniqueName: coll, CoderId: coder, WindowingStrategyId: windowing, IsBounded: bounded}
	}
	p.Components.Transforms[id] = t
	p.RootTransformIds = append(p.RootTransformIds, id)
	return t
}

func pardo(sides ...string) *pipepb.ParDoPayload {
	d := &pipepb.ParDoPayload{DoFn: &pipepb.FunctionSpec{Urn: "my:dofn"}, SideInputs: map[string]*pipepb.SideInput{}}
	for _, side := range sides {
		name, pattern, _ := strings.Cut(side, ":")
		d.SideInputs[name] = &pipepb.SideInput{
			AccessPattern:   &pipepb.FunctionSpec{Urn: "beam:side_input:" + pattern + ":v1"},
			WindowMappingFn: &pipepb.FunctionSpec{Urn: "my:mapping"},
		}
	}
	return d
}

func windowInto(urn string) *pipepb.WindowIntoPayload {
	return &pipepb.WindowIntoPayload{WindowFn: windowFn(urn)}
}

// windowFn is a function with windows of a minute, if it has any.
func windowFn(urn string) *pipepb.FunctionSpec {
	fn := &pipepb.FunctionSpec{Urn: urn}
	if urn == urnFixedWindows {
		fn.Payload = fixed(&durationpb.Duration{Seconds: 60})
	}
	return fn
}

func fixed(size *durationpb.Duration) []byte {
	b, _ := proto.Marshal(&pipepb.FixedWindowsPayload{Size: size}) // two numbers
	return b
}

// by hand are pipelines that the Python SDK does not make, or not easily.
var byHand = map[string]func(p pipe){
	"native": func(p pipe) {
		p.add("read", "native:source", nil, "out=u_a:records")
		p.add("rows", urnParDo, pardo(), "in=u_a", "out=u_b:kv")
		p.add("sum", urnCombinePerKey, &pipepb.CombinePayload{AccumulatorCoderId: "mine"}, "in=u_b", "out=u_c:kv")
		p.add("write", "native:sink", nil, "in=u_c", "out=u_d:bytes")
	},
	"native_only": func(p pipe) {
		p.add("read", "native:source", nil, "out=a:records")
		p.add("spread", urnReshuffle, nil, "in=a", "out=b:records")
		p.add("write", "native:sink", nil, "in=b", "out=c:bytes")
	},
	"redistribute_by_key": func(p pipe) {
		p.add("read", "native:source", nil, "out=a:kv")
		p.add("spread", urnRedistribute, nil, "in=a", "out=b:kv")
		p.add("deal", urnRedistributeBy, nil, "in=b", "out=c:kv")
		p.add("print", urnParDo, pardo(), "in=c")
	},
	// The key's coder at the input counts, whatever the output declares.
	"keys_declared_twice": func(p pipe) {
		p.coder("deterministic", "my:deterministic")
		p.coder("kvdet", urnKV, "deterministic", "varint")
		p.add("impulse", urnImpulse, nil, "out=a:bytes")
		p.add("make", urnParDo, pardo(), "in=a", "out=b:kvdet")
		p.add("group", urnGroupByKey, nil, "in=b", "out=c:groupedmine")
		d := pardo()
		d.StateSpecs = map[string]*pipepb.StateSpec{"bag": {Spec: &pipepb.StateSpec_BagSpec{BagSpec: &pipepb.BagStateSpec{ElementCoderId: "mine"}}}}
		d.TimerFamilySpecs = map[string]*pipepb.TimerFamilySpec{"t": {TimeDomain: pipepb.TimeDomain_EVENT_TIME, TimerFamilyCoderId: "timer"}}
		d.OnWindowExpirationTimerFamilySpec = "t"
		p.coder("timer", urnTimer, "mine", "global_window")
		p.add("state", urnParDo, d, "in=c", "out=d:bytes")
	},
	"custom_windows": func(p pipe) {
		p.add("impulse", urnImpulse, nil, "out=a:bytes")
		p.add("make", urnParDo, pardo(), "in=a", "out=b:kv")
		p.add("mywindows", urnWindowInto, windowInto("my:window_fn"), "in=b", "out=c:kv/mine")
		p.add("group", urnGroupByKey, nil, "in=c", "out=d:grouped/mine")
		p.add("fixed", urnWindowInto, windowInto(urnFixedWindows), "in=b", "out=e:kv/fixed")
		p.add("see", urnParDo, pardo("side:multimap"), "in=e", "side=c", "out=f:kv/fixed")
	},
	"sdf_with_side_input": func(p pipe) {
		p.add("impulse", urnImpulse, nil, "out=a:bytes")
		p.add("other", urnImpulse, nil, "out=s:bytes")
		d := pardo("side:iterable")
		d.RestrictionCoderId, d.RequestsFinalization = "mine", true
		p.add("sdf", urnParDo, d, "in=a", "side=s", "out=u_b:bytes")
		p.add("next", urnParDo, pardo(), "in=u_b", "out=u_c:bytes")
	},
	"two_languages": func(p pipe) {
		p.add("impulse", urnImpulse, nil, "out=a:bytes")
		p.add("py", urnParDo, pardo(), "in=a", "out=b:kvmine")
		p.add("java", urnParDo, pardo(), "in=a", "out=c:kv").EnvironmentId = "java"
		p.add("both", urnFlatten, nil, "a=b", "b=c", "out=d:kv")
		p.add("group", urnGroupByKey, nil, "in=d", "out=e:grouped")
		p.add("javaread", urnParDo, pardo(), "in=e").EnvironmentId = "java"
		p.add("pyread", urnParDo, pardo("side:multimap"), "in=e", "side=d")
	},
	// Groups written in one coder, flattened with what has another.
	"transcode": func(p pipe) {
		p.add("read", "native:source", nil, "out=a:kv")
		p.add("group", urnGroupByKey, nil, "in=a", "out=b:grouped")
		p.add("impulse", urnImpulse, nil, "out=c:bytes")
		p.add("make", urnParDo, pardo(), "in=c", "out=d:groupedmine")
		p.add("both", urnFlatten, nil, "a=b", "b=d", "out=e:groupedmine")
		p.add("print", urnParDo, pardo(), "in=e")
		p.add("again", urnGroupByKey, nil, "in=e", "out=f:groupedmine")
	},
	// A side input made from the stage's own output, and one that is not.
	"side_input_cycle": func(p pipe) {
		p.add("impulse", urnImpulse, nil, "out=a:bytes")
		p.add("make", urnParDo, pardo(), "in=a", "out=b:kv")
		p.add("group", urnGroupByKey, nil, "in=b", "out=c:grouped")
		p.add("totals", urnParDo, pardo(), "in=c", "out=d:kv")
		p.add("share", urnParDo, pardo("side:multimap"), "in=b", "side=d", "out=e:bytes")
		p.add("free", urnParDo, pardo(), "in=b", "out=f:bytes")
		p.add("side", urnImpulse, nil, "out=s:bytes")
		p.add("fine", urnParDo, pardo("side:iterable"), "in=f", "side=s", "out=g:bytes")
	},
	"combine_unlifted": func(p pipe) {
		p.Components.WindowingStrategies["global"].Trigger = &pipepb.Trigger{Trigger: &pipepb.Trigger_Repeat_{Repeat: &pipepb.Trigger_Repeat{
			Subtrigger: &pipepb.Trigger{Trigger: &pipepb.Trigger_ElementCount_{ElementCount: &pipepb.Trigger_ElementCount{ElementCount: 2}}}}}}
		p.add("read", "native:source", nil, "out=a:kv")
		p.add("sum", urnCombinePerKey, &pipepb.CombinePayload{AccumulatorCoderId: "mine"}, "in=a", "out=b:kv")
	},
	// An element may be late, and must not take others with it.
	"combine_by_elements_time": func(p pipe) {
		p.Components.WindowingStrategies["global"].OutputTime = pipepb.OutputTime_EARLIEST_IN_PANE
		p.add("read", "native:source", nil, "out=u_a:kv")
		p.add("sum", urnCombinePerKey, &pipepb.CombinePayload{AccumulatorCoderId: "mine"}, "in=u_a", "out=b:kv")
	},
	"stable_input": func(p pipe) {
		p.add("impulse", urnImpulse, nil, "out=a:bytes")
		p.add("make", urnParDo, pardo(), "in=a", "out=b:bytes")
		d := pardo()
		d.RequiresStableInput = true
		p.add("write", urnParDo, d, "in=b")
	},
	// Not one SDK's WindowInto, but two at one boundary; the second is fused.
	"windows_at_boundaries": func(p pipe) {
		p.add("read", "native:source", nil, "out=a:kv")
		p.add("fixed", urnWindowInto, windowInto(urnFixedWindows), "in=a", "out=b:kv/fixed")
		p.add("group", urnGroupByKey, nil, "in=b", "out=c:grouped/fixed")
		p.add("global", urnWindowInto, windowInto(urnGlobalWindows), "in=c", "out=d:grouped")
		p.add("print", urnParDo, pardo(), "in=d")
		p.add("also", urnParDo, pardo(), "in=c")
	},
	// The third of a second is no whole number of milliseconds: the SDK assigns such
	// windows, also at a boundary, and maps them to those of side inputs.
	"windows_of_a_third": func(p pipe) {
		thirds := windowInto(urnFixedWindows)
		thirds.WindowFn.Payload = fixed(&durationpb.Duration{Nanos: 333_333_000})
		p.Components.WindowingStrategies["fixed"].WindowFn = thirds.WindowFn
		p.add("read", "native:source", nil, "out=a:kv")
		p.add("thirds", urnWindowInto, thirds, "in=a", "out=b:kv/fixed")
		p.add("group", urnGroupByKey, nil, "in=b", "out=c:grouped/fixed")
		p.add("print", urnParDo, pardo("side:iterable"), "in=c", "side=b")
	},
	"empty_composites": func(p pipe) {
		p.add("impulse", urnImpulse, nil, "out=a:bytes")
		p.add("nothing", "my:composite", nil, "in=a")
		p.Components.Transforms["nothing"].Outputs["out"] = "a"
		p.add("view", urnCreateView, nil, "in=a", "out=v:bytes")
		p.add("print", urnParDo, pardo("side:iterable"), "in=a", "side=v")
	},
}

func TestPlansOfPipelinesByHand(t *testing.T) {
	t.Parallel()
	for name, build := range byHand {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPipe()
			build(p)
			plan, err := Translate(p.Pipeline, native)
			if err != nil {
				t.Fatal(err)
			}
			checkPlan(t, plan)
			golden(t, "hand_"+name, plan.String())
		})
	}
}

// refusals are pipelines that cannot be run, and what the user reads.
var refusals = []struct {
	name  string
	build func(p pipe)
	code  beam.Code
	want  string
}{
	{"requirement", func(p pipe) { p.Requirements = []string{"my:requirement"} }, beam.Unsupported, "my:requirement"},
	{"unknown primitive", func(p pipe) { p.add("odd", "my:urn", nil, "in=a", "out=x:bytes") }, beam.Unsupported, "Odd: the transform my:urn"},
	{"unknown environment", func(p pipe) {
		p.Components.Environments["far"] = &pipepb.Environment{Urn: "my:environment"}
		p.add("odd", urnParDo, pardo(), "in=a", "out=x:bytes").EnvironmentId = "far"
	}, beam.Unsupported, `Odd: its environment "far" is of the type "my:environment"`},
	{"no URN", func(p pipe) { p.add("odd", "", nil, "in=a", "out=x:bytes") }, beam.InvalidPipeline, "Odd"},
	{"missing transform", func(p pipe) { p.RootTransformIds = append(p.RootTransformIds, "gone") }, beam.InvalidPipeline, "gone"},
	{"missing part", func(p pipe) {
		p.add("odd", "my:urn", nil).Subtransforms = []string{"gone"}
	}, beam.InvalidPipeline, "gone"},
	{"part of itself", func(p pipe) {
		p.add("odd", "my:urn", nil).Subtransforms = []string{"odd"}
	}, beam.InvalidPipeline, "Odd: the transform is part of two others, or of itself"},
	{"missing collection", func(p pipe) { p.add("odd", urnParDo, pardo(), "in=gone") }, beam.InvalidPipeline, `Odd: the collection "gone"`},
	{"missing coder", func(p pipe) { p.add("odd", urnParDo, pardo(), "in=a", "out=x:gone") }, beam.InvalidPipeline, `Odd: collection "x": coder "gone"`},
	{"missing component", func(p pipe) {
		p.coder("odd", urnIterable, "gone")
		p.add("odd", urnParDo, pardo(), "in=a", "out=x:odd")
	}, beam.InvalidPipeline, `coder "gone" is not in the pipeline`},
	{"coder of itself", func(p pipe) {
		p.coder("odd", urnIterable, "odd")
		p.add("odd", urnParDo, pardo(), "in=a", "out=x:odd")
	}, beam.InvalidPipeline, `coder "odd" contains itself`},
	{"coder without components", func(p pipe) {
		p.coder("odd", urnKV, "bytes")
		p.add("odd", urnParDo, pardo(), "in=a", "out=x:odd")
	}, beam.InvalidPipeline, `coder "odd" (beam:coder:kv:v1) has 1 components where 2 are due`},
	{"coder that explodes", func(p pipe) {
		p.coder("k00", urnKV, "bytes", "bytes")
		for i := 1; i < 64; i++ {
			below := fmt.Sprintf("k%02d", i-1)
			p.coder(fmt.Sprintf("k%02d", i), urnKV, below, below)
		}
		p.add("odd", urnParDo, pardo(), "in=a", "out=x:k63")
	}, beam.InvalidPipeline, "nested too deep"},
	{"missing windowing", func(p pipe) { p.add("odd", urnParDo, pardo(), "in=a", "out=x:bytes/gone") }, beam.InvalidPipeline, `windowing strategy "gone"`},
	{"missing environment", func(p pipe) {
		p.add("odd", urnParDo, pardo(), "in=a").EnvironmentId = "gone"
	}, beam.InvalidPipeline, `its environment "gone"`},
	{"nothing makes it", func(p pipe) {
		p.add("odd", urnParDo, pardo(), "in=a", "out=x:bytes")
		p.Components.Transforms["odd"].Inputs["in"] = "loose"
		p.Components.Pcollections["loose"] = p.Components.Pcollections["a"]
	}, beam.InvalidPipeline, `Odd: its input "in" is the collection "loose", which nothing makes`},
	{"two make it", func(p pipe) { p.add("odd", urnParDo, pardo(), "in=a", "out=a:bytes") }, beam.InvalidPipeline, "Odd"},
	{"cycle", func(p pipe) {
		p.add("one", urnParDo, pardo("side:iterable"), "in=a", "side=y", "out=x:bytes")
		p.add("two", urnParDo, pardo(), "in=x", "out=y:bytes")
	}, beam.InvalidPipeline, "reads what is made from its own output"},
	{"group without keys", func(p pipe) { p.add("odd", urnGroupByKey, nil, "in=a", "out=x:grouped") }, beam.InvalidPipeline, "Odd: it works by key, but its input has the coder bytes"},
	{"two main inputs", func(p pipe) { p.add("odd", urnParDo, pardo(), "in=a", "more=a") }, beam.InvalidPipeline, "Odd: it has 2 main inputs"},
	{"payload", func(p pipe) {
		p.add("odd", urnParDo, nil, "in=a").Spec.Payload = []byte{0xff}
	}, beam.InvalidPipeline, "Odd: its ParDo payload cannot be read"},
	{"side input that is none", func(p pipe) { p.add("odd", urnParDo, pardo("side:iterable"), "in=a") }, beam.InvalidPipeline, `Odd: its side input "side" is not among its inputs`},
	{"side input pattern", func(p pipe) { p.add("odd", urnParDo, pardo("side:magic"), "in=a", "side=a") }, beam.Unsupported, "beam:side_input:magic:v1"},
	{"multimap without keys", func(p pipe) {
		p.add("odd", urnParDo, pardo("side:multimap"), "in=a", "side=a")
	}, beam.InvalidPipeline, `Odd: its side input "side" is read by key, but has the coder bytes`},
	{"state of no kind", func(p pipe) {
		d := pardo()
		d.StateSpecs = map[string]*pipepb.StateSpec{"s": {}}
		p.add("odd", urnParDo, d, "in=a")
	}, beam.Unsupported, `Odd: state "s" of an unknown kind`},
	{"state in a splittable DoFn", func(p pipe) {
		d := pardo()
		d.RestrictionCoderId = "mine"
		d.StateSpecs = map[string]*pipepb.StateSpec{"s": {Spec: &pipepb.StateSpec_BagSpec{BagSpec: &pipepb.BagStateSpec{ElementCoderId: "mine"}}}}
		p.add("odd", urnParDo, d, "in=a")
	}, beam.Unsupported, "Odd: a splittable DoFn with state"},
	{"timer domain", func(p pipe) {
		d := pardo()
		p.coder("timer", urnTimer, "bytes", "global_window")
		d.TimerFamilySpecs = map[string]*pipepb.TimerFamilySpec{"t": {TimerFamilyCoderId: "timer"}}
		p.add("odd", urnParDo, d, "in=a")
	}, beam.Unsupported, `Odd: timer family "t" in the time domain`},
	{"flatten that explodes", func(p pipe) {
		last := "a"
		for i := range 40 {
			next := fmt.Sprintf("f%d", i)
			p.add("flatten"+next, urnFlatten, nil, "a="+last, "b="+last, "out="+next+":bytes")
			last = next
		}
		p.add("odd", urnParDo, pardo(), "in="+last)
	}, beam.Unsupported, "multiply"},
}

func TestRefusesByName(t *testing.T) {
	t.Parallel()
	for _, r := range refusals {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			p := newPipe()
			p.add("impulse", urnImpulse, nil, "out=a:bytes")
			r.build(p)
			_, err := Translate(p.Pipeline, Options{Environments: func(env *pipepb.Environment) bool { return env.GetUrn() != "my:environment" }})
			if err == nil {
				t.Fatal("not refused")
			}
			wantCoded(t, err)
			var coded *beam.Error
			if errors.As(err, &coded); coded.Code != r.code || !strings.Contains(err.Error(), r.want) {
				t.Errorf("%v, want %v with %q", err, r.code, r.want)
			}
		})
	}
}

// TestALongChainIsCut: a harness that calls each transform from the one before would
// come to the end of its stack. Flattens within a stage are calls too.
func TestALongChainIsCut(t *testing.T) {
	t.Parallel()
	p := newPipe()
	p.add("impulse", urnImpulse, nil, "out=a:bytes")
	p.add("first", urnParDo, pardo(), "in=a", "out=c0:bytes")
	const long = 10 * maxChain
	for i := range long / 2 {
		p.add(fmt.Sprint("step", i), urnParDo, pardo(), fmt.Sprint("in=c", i), fmt.Sprintf("out=d%d:bytes", i))
		p.add(fmt.Sprint("flatten", i), urnFlatten, nil, fmt.Sprint("in=d", i), "in2=c0", fmt.Sprintf("out=c%d:bytes", i+1))
	}
	p.add("last", urnParDo, pardo(), fmt.Sprint("in=c", long/2))
	plan, err := Translate(p.Pipeline, native)
	if err != nil {
		t.Fatal(err)
	}
	checkPlan(t, plan)
	for _, s := range plan.Stages {
		if s.Kind == Harness && len(s.Harness.Descriptor.GetTransforms()) > maxChain+8 {
			t.Errorf("%s has %d transforms", s.ID, len(s.Harness.Descriptor.GetTransforms()))
		}
	}
}

func TestNothingAtAll(t *testing.T) {
	t.Parallel()
	for _, p := range []*pipepb.Pipeline{nil, {}, {Components: &pipepb.Components{}}} {
		plan, err := Translate(p, Options{})
		if err != nil || len(plan.Stages) != 0 || plan.Streaming {
			t.Errorf("%v, %v", plan, err)
		}
	}
}

func TestPipelineStaysAsItWas(t *testing.T) {
	t.Parallel()
	for _, name := range capturedNames(t) {
		p := captured(t, name)
		before := proto.CloneOf(p)
		if _, err := Translate(p, Options{}); err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(p, before) {
			t.Errorf("%s changed", name)
		}
	}
}
