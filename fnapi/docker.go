package fnapi

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"

	"fresnel/fnapi/boot"
	"fresnel/fnapi/boot/python"
	"fresnel/internal/beam"
	"fresnel/internal/cores"
)

// A DOCKER environment is what a Beam client asks for if it is not told
// otherwise. Where a Docker engine answers, its workers are containers. Where
// none does, or the server is told so, they are local processes, in a Python
// environment that boot finds or makes, in a JVM with the jars that were staged or of
// the Go pipeline's own binary, and the user is warned.

// newDocker chooses between containers and processes.
func (s *Server) newDocker(ctx context.Context, env *Environment) (launcher, error) {
	p := &pipepb.DockerPayload{}
	if err := proto.Unmarshal(env.Env.GetPayload(), p); err != nil {
		return nil, malformed(urnDocker, err)
	}
	image := p.GetContainerImage()
	if !s.cfg.Processes && s.docker.answers(ctx) {
		return &container{image: image}, nil
	}
	base := sdkBase(env.Env)
	binary, java := hasGoBinary(env.Env), boot.IsJava(base)
	if !binary && !java && !strings.Contains(base+image, "python") {
		return nil, &beam.Error{Code: beam.Unavailable, Where: "container image " + image,
			What: "no Docker engine answers, and only Python, Java and Go harnesses can stand in for a container",
			Cure: "start Docker, or choose --environment_type=LOOPBACK, EXTERNAL or PROCESS"}
	}
	return &standIn{
		process: process{where: "stand-in for container image " + image, argv: []string{s.cfg.Executable, "boot"}},
		image:   image, base: base, chosen: s.cfg.Processes, binary: binary, java: java,
	}, nil
}

// hasGoBinary tells whether the pipeline's Go binary, which is the harness, is
// among the job's files.
func hasGoBinary(env *pipepb.Environment) bool {
	return slices.ContainsFunc(env.GetDependencies(), func(d *pipepb.ArtifactInformation) bool { return d.GetRoleUrn() == boot.RoleGoWorker })
}

// sdkBase is the image that an environment's SDK is made for, as it tells in
// its capabilities; empty if it does not.
func sdkBase(env *pipepb.Environment) string {
	const prefix = "beam:version:sdk_base:"
	for _, c := range env.GetCapabilities() {
		if base, ok := strings.CutPrefix(c, prefix); ok {
			return base
		}
	}
	return ""
}

// dockerEngine remembers for a while if there is one.
type dockerEngine struct {
	mu     sync.Mutex
	asked  time.Time
	answer bool
}

const (
	dockerMemory   = time.Minute
	dockerPatience = 5 * time.Second
)

func (d *dockerEngine) answers(ctx context.Context) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if time.Since(d.asked) < dockerMemory {
		return d.answer
	}
	ctx, cancel := context.WithTimeout(ctx, dockerPatience)
	defer cancel()
	err := exec.CommandContext(ctx, "docker", "version", "--format", "{{.Server.Version}}").Run()
	d.asked, d.answer = time.Now(), err == nil
	return d.answer
}

// container runs workers with the Docker command.
type container struct{ image string }

// On Linux a container shares the host's network. Elsewhere it runs in a
// virtual machine, for which the host has a name.
func (*container) endpoint(local string) string {
	host, port, err := net.SplitHostPort(local)
	if runtime.GOOS == "linux" || err != nil || host != "localhost" {
		return local
	}
	return net.JoinHostPort("host.docker.internal", port)
}

func (*container) parallelism() int              { return cores.All() }
func (*container) keep() bool                    { return true }
func (*container) notice(context.Context) string { return "" }

func (c *container) launch(_ context.Context, w *worker) (handle, error) {
	name := "fresnel-" + w.id
	argv := append([]string{"docker", "run", "--rm", "--name=" + name, "--network=host", c.image}, containerFlags(w)...)
	h, err := launchChild(w, "container image "+c.image, argv, nil)
	if err != nil {
		return nil, err
	}
	w.process.Store(0) // that is the command's: what the container takes does not show in it
	return containerHandle{h, name}, nil
}

type containerHandle struct {
	handle
	name string
}

// stop also removes the container: it can outlive the command that ran it.
func (h containerHandle) stop() {
	h.handle.stop()
	ctx, cancel := context.WithTimeout(context.Background(), 2*dockerPatience)
	defer cancel()
	_ = exec.CommandContext(ctx, "docker", "rm", "--force", h.name).Run() // it is gone in most cases
}

// standIn runs processes instead of containers.
type standIn struct {
	process
	image, base string
	chosen      bool // by the server's user
	// binary: they run the pipeline's Go binary, which needs nothing of the image.
	binary bool
	// java: they run the harness that is among the pipeline's jars.
	java bool
}

func (s *standIn) notice(ctx context.Context) string {
	text := fmt.Sprintf("No Docker engine answers: local processes stand in for the container image %s.", s.image)
	if s.chosen {
		text = fmt.Sprintf("As the server was told, local processes stand in for the container image %s.", s.image)
	}
	if s.binary {
		return text + " They run the pipeline's Go binary."
	}
	if s.java {
		return text + " " + inJava()
	}
	want := wanted(s.base, s.image)
	choice, err := python.Choose(ctx, "", want)
	switch {
	case err != nil:
		return text + " " + err.Error()
	case choice.Install != "":
		return fmt.Sprintf("%s They run in Python %s, with %s in a virtual environment.", text, choice.Version, choice.Install)
	}
	return fmt.Sprintf("%s They run in %s: Python %s, apache-beam %s%s.", text, choice.Path, choice.Version, choice.Beam, differs(choice, want))
}

// inJava tells what Java's harnesses run in.
func inJava() string {
	java, err := boot.FindJava()
	if err != nil {
		return err.Error()
	}
	return "They run in " + java + ", with the jars that the pipeline stages."
}

// wanted reads the versions in the first name that has some.
func wanted(names ...string) python.Wanted {
	for _, name := range names {
		if w := boot.WantedBy(name); w != (python.Wanted{}) {
			return w
		}
	}
	return python.Wanted{}
}

// differs tells what the image has if that is known to be something else.
func differs(have python.Choice, image python.Wanted) string {
	switch {
	case image == python.Wanted{}:
		return ""
	case have.Differs:
		return fmt.Sprintf("; the image has %s, and the pipeline may not work with others", image)
	}
	return ", like the image"
}
