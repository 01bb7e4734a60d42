package jobservice

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"

	"fresnel/internal/beam"
)

// Limits of nesting. Real pipelines stay far below; what walks a pipeline by
// recursion is safe within them. A part that is shared counts each time, since
// not every walk remembers where it was.
var (
	transformLimits = limits{what: "transforms", depth: 1000, parts: 1 << 20}
	coderLimits     = limits{what: "coders", depth: 100, parts: 1 << 14}
)

// validate refuses a pipeline whose parts do not refer to each other as they
// must: all ids that can be reached from the root transforms exist, and neither
// transforms nor coders contain themselves. So later code may follow ids
// without care. What the parts mean is not looked at.
func validate(p *pipepb.Pipeline) error {
	if p == nil {
		return invalid("", "there is no pipeline",
			"send beam.model.pipeline.v1.Pipeline with its components in PrepareJobRequest.pipeline")
	}
	c := p.GetComponents()
	v := &validator{components: c, transforms: newNesting(transformLimits), coders: newNesting(coderLimits)}
	for _, id := range p.GetRootTransformIds() {
		if _, err := v.transforms.walk("the pipeline's roots", id, 1, v.transform); err != nil {
			return err
		}
	}
	return v.environments()
}

func invalid(where, what, cure string) error {
	return &beam.Error{Code: beam.InvalidPipeline, Where: where, What: what, Cure: cure}
}

func dangling(where, kind, id string) error {
	return invalid(where, fmt.Sprintf("%s %q is referred to, and not among the components", kind, cut(id, 200)), "")
}

type validator struct {
	components         *pipepb.Components
	transforms, coders *nesting
}

// transform checks what a transform refers to, and returns what it contains.
func (v *validator) transform(parent, id string) (name string, parts []string, err error) {
	t := v.components.GetTransforms()[id]
	if t == nil {
		return "", nil, dangling(parent, "transform", id)
	}
	if name = cut(t.GetUniqueName(), 500); name == "" {
		name = "transform " + cut(id, 500)
	}
	for _, ends := range []map[string]string{t.GetInputs(), t.GetOutputs()} {
		for _, tag := range slices.Sorted(maps.Keys(ends)) {
			if err := v.pcollection(name, ends[tag]); err != nil {
				return "", nil, err
			}
		}
	}
	if env := t.GetEnvironmentId(); env != "" && v.components.GetEnvironments()[env] == nil {
		return "", nil, dangling(name, "environment", env)
	}
	return name, t.GetSubtransforms(), nil
}

func (v *validator) pcollection(where, id string) error {
	pc := v.components.GetPcollections()[id]
	if pc == nil {
		return dangling(where, "PCollection", id)
	}
	windowing := v.components.GetWindowingStrategies()[pc.GetWindowingStrategyId()]
	if windowing == nil {
		return dangling(where, "windowing strategy", pc.GetWindowingStrategyId())
	}
	if _, err := v.coders.walk(where, pc.GetCoderId(), 1, v.coder); err != nil {
		return err
	}
	if windowing.GetWindowCoderId() == "" {
		return nil
	}
	_, err := v.coders.walk(where, windowing.GetWindowCoderId(), 1, v.coder)
	return err
}

// coder returns what a coder is made of.
func (v *validator) coder(where, id string) (name string, parts []string, err error) {
	c := v.components.GetCoders()[id]
	if c == nil {
		return "", nil, dangling(where, "coder", id)
	}
	return where, c.GetComponentCoderIds(), nil
}

// limits bounds how parts contain each other.
type limits struct {
	what         string
	depth, parts int
}

// nesting walks parts that contain parts, each once.
type nesting struct {
	limits
	seen map[string]extent
}

// extent is how deep and how large a part is, with all that it contains; zero
// while that is being looked at.
type extent struct{ depth, parts int }

func newNesting(l limits) *nesting { return &nesting{limits: l, seen: map[string]extent{}} }

// look checks one part and returns its name in errors and what it contains.
type look func(parent, id string) (name string, parts []string, err error)

// walk checks a part at the given depth, and all that it contains.
func (n *nesting) walk(parent, id string, depth int, look look) (extent, error) {
	size, ok := n.seen[id]
	switch {
	case ok && size.depth == 0:
		return size, invalid(parent, fmt.Sprintf("%s contain themselves: %q", n.what, cut(id, 200)), "")
	case depth+max(size.depth-1, 0) > n.depth:
		return size, invalid(parent, fmt.Sprintf("%s are nested more than %d deep", n.what, n.depth), "")
	case ok:
		return size, nil
	}
	name, parts, err := look(parent, id)
	if err != nil {
		return size, err
	}
	n.seen[id] = extent{}
	size = extent{depth: 1, parts: 1}
	for _, part := range parts {
		below, err := n.walk(name, part, depth+1, look)
		if err != nil {
			return below, err
		}
		size.depth = max(size.depth, below.depth+1)
		if size.parts += below.parts; size.parts > n.limits.parts {
			return size, invalid(name, fmt.Sprintf("%s have more than %d parts", n.what, n.limits.parts), "")
		}
	}
	n.seen[id] = size
	return size, nil
}

// environments checks the names under which artifacts will be stored where a
// worker starts: none may lead out of its directory.
func (v *validator) environments() error {
	envs := v.components.GetEnvironments()
	for _, id := range slices.Sorted(maps.Keys(envs)) {
		for _, dep := range envs[id].GetDependencies() {
			if err := checkStagedName(dep); err != nil {
				return invalid("environment "+cut(id, 200), err.Error(), "")
			}
		}
	}
	return nil
}

func checkStagedName(dep *pipepb.ArtifactInformation) error {
	if dep.GetRoleUrn() != urnStagingTo {
		return nil
	}
	var role pipepb.ArtifactStagingToRolePayload
	if err := proto.Unmarshal(dep.GetRolePayload(), &role); err != nil {
		return fmt.Errorf("the role of artifact %s does not parse: %w", artifactName(dep), err)
	}
	name := path.Clean(strings.ReplaceAll(role.GetStagedName(), `\`, "/"))
	if path.IsAbs(name) || name == ".." || strings.HasPrefix(name, "../") {
		return fmt.Errorf("the name %q of an artifact leads out of the worker's directory", cut(role.GetStagedName(), 200))
	}
	return nil
}
