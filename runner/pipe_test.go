package runner

import (
	"strings"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

// pipe builds pipelines by hand.
type pipe struct{ *pipepb.Pipeline }

func newPipe() pipe {
	p := pipe{&pipepb.Pipeline{Components: &pipepb.Components{
		Transforms:          map[string]*pipepb.PTransform{},
		Pcollections:        map[string]*pipepb.PCollection{},
		WindowingStrategies: map[string]*pipepb.WindowingStrategy{},
		Coders:              map[string]*pipepb.Coder{},
		Environments: map[string]*pipepb.Environment{"sdk": {Urn: "beam:env:external:v1",
			Capabilities: []string{"beam:transform:sdf_truncate_sized_restrictions:v1"}}},
	}}}
	p.coder("bytes", "beam:coder:bytes:v1")
	p.coder("str", "beam:coder:string_utf8:v1")
	p.coder("kv", "beam:coder:kv:v1", "str", "str")
	p.coder("iter", "beam:coder:iterable:v1", "str")
	p.coder("grouped", "beam:coder:kv:v1", "str", "iter")
	p.coder("global_window", "beam:coder:global_window:v1")
	p.coder("interval", "beam:coder:interval_window:v1")
	p.coder("timer", "beam:coder:timer:v1", "str", "global_window")
	p.coder("timer60", "beam:coder:timer:v1", "str", "interval")
	p.windows("global", "beam:window_fn:global_windows:v1", "global_window", nil)
	fixed, _ := proto.Marshal(&pipepb.FixedWindowsPayload{Size: durationpb.New(60e9)}) // two numbers
	p.windows("minute", "beam:window_fn:fixed_windows:v1", "interval", fixed)
	return p
}

func (p pipe) coder(id, urn string, comps ...string) {
	p.Components.Coders[id] = &pipepb.Coder{Spec: &pipepb.FunctionSpec{Urn: urn}, ComponentCoderIds: comps}
}

func (p pipe) windows(id, urn, coder string, payload []byte) {
	p.Components.WindowingStrategies[id] = &pipepb.WindowingStrategy{
		WindowFn: &pipepb.FunctionSpec{Urn: urn, Payload: payload}, WindowCoderId: coder, EnvironmentId: "sdk",
		MergeStatus: pipepb.MergeStatus_NON_MERGING, AccumulationMode: pipepb.AccumulationMode_DISCARDING,
		OutputTime: pipepb.OutputTime_END_OF_WINDOW, ClosingBehavior: pipepb.ClosingBehavior_EMIT_IF_NONEMPTY,
		OnTimeBehavior: pipepb.OnTimeBehavior_FIRE_ALWAYS,
		Trigger:        &pipepb.Trigger{Trigger: &pipepb.Trigger_Default_{Default: &pipepb.Trigger_Default{}}},
	}
}

// add appends a transform. Ports are words such as "out=b:kv/minute": local
// name, collection, and where it is made, coder (kv if none) and windowing
// (global if none). A collection that begins with u_ is unbounded.
func (p pipe) add(id, urn string, payload []byte, ports ...string) pipe {
	t := &pipepb.PTransform{UniqueName: strings.ToUpper(id[:1]) + id[1:], EnvironmentId: "sdk",
		Inputs: map[string]string{}, Outputs: map[string]string{}, Spec: &pipepb.FunctionSpec{Urn: urn, Payload: payload}}
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
		if coder == "" {
			coder = "kv"
		}
		bounded := pipepb.IsBounded_BOUNDED
		if strings.HasPrefix(coll, "u_") {
			bounded = pipepb.IsBounded_UNBOUNDED
		}
		p.Components.Pcollections[coll] = &pipepb.PCollection{UniqueName: coll, CoderId: coder, WindowingStrategyId: windowing, IsBounded: bounded}
	}
	p.Components.Transforms[id] = t
	p.RootTransformIds = append(p.RootTransformIds, id)
	return p
}

func (p pipe) impulse(id, out string) pipe {
	return p.add(id, "beam:transform:impulse:v1", nil, "out="+out+":bytes")
}

func (p pipe) read(id, source, out string) pipe {
	return p.add(id, "test:read", []byte(source), "out="+out)
}

func (p pipe) write(id, sink, in string) pipe {
	return p.add(id, "test:write", []byte(sink), "in="+in)
}

func (p pipe) reshuffle(id string, ports ...string) pipe {
	return p.add(id, "beam:transform:reshuffle:v1", nil, ports...)
}

func (p pipe) group(id string, ports ...string) pipe {
	return p.add(id, "beam:transform:group_by_key:v1", nil, ports...)
}

// pardo adds a ParDo; change may be nil.
func (p pipe) pardo(id string, change func(*pipepb.ParDoPayload), ports ...string) pipe {
	d := &pipepb.ParDoPayload{DoFn: &pipepb.FunctionSpec{Urn: "test:dofn"}}
	if change != nil {
		change(d)
	}
	payload, err := proto.Marshal(d)
	if err != nil {
		panic(err) // strings of the tests
	}
	return p.add(id, "beam:transform:pardo:v1", payload, ports...)
}

// simple is a bounded pipeline: impulse, make, spread, work, write to "out".
func simple() pipe {
	return newPipe().impulse("impulse", "i").pardo("make", nil, "in=i", "out=a:").
		reshuffle("spread", "in=a", "out=b:").pardo("work", nil, "in=b", "out=c:").write("write", "out", "c")
}

// endless is an unbounded pipeline: read "in", spread, work, write to "out".
func endless() pipe {
	return newPipe().read("read", "in", "u_a:").reshuffle("spread", "in=u_a", "out=u_b:").
		pardo("work", nil, "in=u_b", "out=u_c:").write("write", "out", "u_c")
}

// windowInto is the payload of a WindowInto windows of a minute.
func windowInto() []byte {
	fixed, _ := proto.Marshal(&pipepb.FixedWindowsPayload{Size: durationpb.New(60e9)}) // two numbers
	payload, _ := proto.Marshal(&pipepb.WindowIntoPayload{WindowFn: &pipepb.FunctionSpec{Urn: "beam:window_fn:fixed_windows:v1", Payload: fixed}})
	return payload
}
