package runner

import (
	"context"

	"fresnel/fnapi"
	"fresnel/internal/beam"
	"fresnel/internal/coder"
	"fresnel/runner/window"
	"fresnel/translate"
)

// aside asks an SDK something beside the plan's flow: a stage without edges,
// run on any worker of its environment.
type aside struct {
	job        *job
	stage      *translate.Stage
	pool       *pool
	descriptor *fnapi.Descriptor
	in, out    *coder.Windowed
}

// newAside returns nil for a nil stage.
func (j *job) newAside(s *translate.Stage) (*aside, error) {
	if s == nil {
		return nil, nil
	}
	a := &aside{job: j, stage: s, pool: j.poolOf(s.Harness.Environment),
		descriptor: j.descriptor(s)}
	var err error
	if a.in, err = j.coders.element(s.Inputs[0]); err != nil {
		return nil, err
	}
	a.out, err = j.coders.element(s.Outputs[0])
	return a, err
}

// ask sends one value and returns the one value that comes back.
func (a *aside) ask(ctx context.Context, value []byte) ([]byte, error) {
	answers, err := a.askAll(ctx, [][]byte{value})
	if err == nil && len(answers) != 1 {
		err = a.badAnswer(nil)
	}
	if err != nil {
		return nil, err
	}
	return answers[0], nil
}

// askAll sends values and returns what comes back. A worker that is lost
// meanwhile is replaced and asked again.
func (a *aside) askAll(ctx context.Context, values [][]byte) ([][]byte, error) {
	var input []byte
	for _, v := range values {
		input = append(coder.AppendHeader(input, beam.EndOfGlobalWindow, 1, nil, beam.NoFiring), v...)
	}
	for {
		w, err := a.pool.any(ctx)
		if err != nil {
			return nil, err
		}
		answers, err := a.askWorker(ctx, w, input)
		if beam.CodeOf(err) != beam.Unavailable || ctx.Err() != nil {
			return answers, err
		}
		if !sleep(ctx, backoff(0)) {
			return nil, ctx.Err()
		}
	}
}

func (a *aside) askWorker(ctx context.Context, w fnapi.Worker, input []byte) ([][]byte, error) {
	var out []byte
	run := w.Start(&fnapi.Bundle{ID: a.job.asideID(a.stage), Descriptor: a.descriptor, Source: a.stage.Harness.Source,
		Sinks: a.stage.Harness.Sinks, Input: [][]byte{input},
		Output: func(_ beam.TransformID, _ string, data fnapi.Payload) error {
			out = append(out, data.Joined()...)
			return nil
		}})
	select {
	case <-run.Done():
	case <-ctx.Done():
		run.Abandon()
		return nil, ctx.Err()
	}
	if _, err := run.Result(); err != nil {
		return nil, err
	}
	var answers [][]byte
	for len(out) > 0 {
		var el coder.Element
		n, err := a.out.Scan(out, &el)
		if err != nil {
			return nil, a.badAnswer(err)
		}
		answers, out = append(answers, el.Value), out[n:]
	}
	return answers, nil
}

func (a *aside) badAnswer(cause error) error {
	return &beam.Error{Code: beam.BadData, Where: a.stage.Name, What: "the SDK did not answer each question with one element", Cause: cause}
}

// customMerge merges windows in the SDK (MERGE_WINDOWS): nil if the runner can.
func (j *job) customMerge(s *translate.Stage) (func([][]byte) ([]window.Merge, error), error) {
	a, err := j.newAside(s)
	if a == nil || err != nil {
		return nil, err
	}
	return func(windows [][]byte) ([]window.Merge, error) {
		question := coder.AppendIterableCount(coder.AppendLengthPrefixed(nil, nil), len(windows))
		for _, w := range windows {
			question = append(question, w...)
		}
		answer, err := a.ask(j.ctx, question)
		if err != nil {
			return nil, err
		}
		return a.merges(answer)
	}, nil
}

// merges reads KV<nonce, KV<unmerged, iterable<KV<result, sources>>>>.
func (a *aside) merges(answer []byte) ([]window.Merge, error) {
	_, body, err := a.out.Value().SplitKV(answer)
	if err != nil {
		return nil, err
	}
	merged := a.out.Value().Component(1)
	_, list, err := merged.SplitKV(body)
	if err != nil {
		return nil, err
	}
	pair := merged.Component(1).Component(0)
	var all []window.Merge
	err = eachOf(list, pair, func(one []byte) error {
		result, sources, err := pair.SplitKV(one)
		if err != nil {
			return err
		}
		m := window.Merge{Result: result}
		all = append(all, m)
		return eachOf(sources, pair.Component(0), func(w []byte) error {
			last := &all[len(all)-1]
			last.Sources = append(last.Sources, w)
			return nil
		})
	})
	return all, err
}

// eachOf calls f with the elements of an encoded iterable of known length.
func eachOf(list []byte, element *coder.Coder, f func([]byte) error) error {
	if len(list) < 4 {
		return coder.ErrShort
	}
	list = list[4:]
	for len(list) > 0 {
		n, err := element.Skip(list)
		if err != nil {
			return err
		}
		if err := f(list[:n:n]); err != nil {
			return err
		}
		list = list[n:]
	}
	return nil
}
