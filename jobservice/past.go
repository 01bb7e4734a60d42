package jobservice

import (
	"fmt"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"fresnel/internal/beam"
)

// past is what the table keeps of a job that has ended, besides its history: bytes, a
// small part of what the messages take that they are read into, and of the
// pipeline nothing where the job's record has it.
type past struct {
	pipeline  []byte // nil where the record has it
	options   []byte
	metrics   []byte
	artifacts []string // hashes of those that the pipeline's environments name
}

func (p *past) size() int {
	size := len(p.pipeline) + len(p.options) + len(p.metrics)
	for _, sum := range p.artifacts {
		size += len(sum)
	}
	return size
}

// pack makes a job that has ended, and is settled, its past. The caller holds the
// lock.
func (j *job) pack() {
	p := &past{artifacts: artifactsOf(j.pipeline)}
	var err error
	if p.options, err = proto.Marshal(j.options); err == nil {
		p.metrics, err = proto.Marshal(j.final)
	}
	if err == nil && j.dir == nil {
		p.pipeline, err = proto.Marshal(j.pipeline)
	}
	if err != nil {
		return // text that is not UTF-8: it stays what it is
	}
	j.become(p)
}

func (j *job) become(p *past) {
	j.past, j.size = p, p.size()
	j.pipeline, j.options, j.final = nil, nil, nil
	if j.dir != nil {
		j.dir.record.request = nil
	}
}

// getPipeline returns the job's pipeline, of which nothing may be modified.
func (j *job) getPipeline() (*pipepb.Pipeline, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.past == nil:
		return j.pipeline, nil
	case j.dir == nil:
		p := &pipepb.Pipeline{}
		return p, proto.Unmarshal(j.past.pipeline, p)
	}
	r, err := readRecord(j.dir.recordPath(), j.id, j.dir.seal)
	if err != nil {
		return nil, &beam.Error{Code: beam.Internal, What: fmt.Sprintf("the pipeline of job %s, which has ended, cannot be read from the data directory", j.id), Cause: err}
	}
	return r.request.GetPipeline(), nil
}

// getOptions returns the options that the job was prepared with.
func (j *job) getOptions() *structpb.Struct {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.past == nil {
		return j.options
	}
	options := &structpb.Struct{}
	if err := proto.Unmarshal(j.past.options, options); err != nil {
		j.log.Error("the options of a job that has ended cannot be read", "error", err)
	}
	return options
}

// optionsSize is the size of the options as a message.
func (j *job) optionsSize() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.past == nil {
		return proto.Size(j.options)
	}
	return len(j.past.options)
}

// finalMetrics returns the metrics of a job that has ended, nil if it has not. The
// caller holds the lock.
func (j *job) finalMetrics() *jobpb.MetricResults {
	if j.past == nil {
		return j.final
	}
	return j.parseMetrics(j.past.metrics)
}

func (j *job) parseMetrics(b []byte) *jobpb.MetricResults {
	metrics := &jobpb.MetricResults{}
	if err := proto.Unmarshal(b, metrics); err != nil {
		j.log.Error("the metrics of a job that has ended cannot be read", "error", err)
	}
	return metrics
}

// artifacts returns the hashes of the artifacts that the job's environments name.
func (j *job) artifacts() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.past != nil {
		return j.past.artifacts
	}
	return artifactsOf(j.pipeline)
}

func artifactsOf(p *pipepb.Pipeline) []string {
	var sums []string
	for _, env := range p.GetComponents().GetEnvironments() {
		sums = appendArtifacts(sums, env)
	}
	return sums
}

func appendArtifacts(sums []string, env *pipepb.Environment) []string {
	for _, dep := range env.GetDependencies() {
		if _, sum, err := locate(dep); err == nil && sum != "" {
			sums = append(sums, sum)
		}
	}
	return sums
}

// pastOf is the past of a job of which a record has the request. Of a thousand
// pipelines that nobody may ask for only what names artifacts is read.
func pastOf(request []byte) (*past, error) {
	const ( // fields of the messages that these are in
		inRequestPipeline, inRequestOptions = 1, 2
		inPipelineComponents                = 1
		inComponentsEnvironments            = 5
		inEntryValue                        = 2
	)
	p := &past{}
	err := within(request, func(b []byte) error {
		env := &pipepb.Environment{}
		if err := proto.Unmarshal(b, env); err != nil {
			return err
		}
		p.artifacts = appendArtifacts(p.artifacts, env)
		return nil
	}, inRequestPipeline, inPipelineComponents, inComponentsEnvironments, inEntryValue)
	if err != nil {
		return nil, fmt.Errorf("its environments: %w", err)
	}
	return p, within(request, func(b []byte) error {
		p.options = append(p.options, b...)
		return nil
	}, inRequestOptions)
}

// within calls do with each message at a path of field numbers in b.
func within(b []byte, do func([]byte) error, path ...protowire.Number) error {
	if len(path) == 0 {
		return do(b)
	}
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		size := protowire.ConsumeFieldValue(num, typ, b)
		if size < 0 {
			return protowire.ParseError(size)
		}
		if num == path[0] && typ == protowire.BytesType {
			value, _ := protowire.ConsumeBytes(b)
			if err := within(value, do, path[1:]...); err != nil {
				return err
			}
		}
		b = b[size:]
	}
	return nil
}
