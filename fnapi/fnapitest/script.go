package fnapitest

import "errors"

// errSilent has the harness not answer.
var errSilent = errors.New("no answer")

// Echo sends all data to every sink, and fired timers back as they came.
func Echo(b *Bundle) error {
	for c, ok := b.Next(); ok; c, ok = b.Next() {
		if err := b.echo(c, 1); err != nil {
			return err
		}
	}
	return nil
}

// Double is Echo that sends everything twice.
func Double(b *Bundle) error {
	for c, ok := b.Next(); ok; c, ok = b.Next() {
		if err := b.echo(c, 2); err != nil {
			return err
		}
	}
	return nil
}

func (b *Bundle) echo(c Chunk, times int) error {
	for range times {
		if c.Family != "" {
			if err := b.SetTimers(c.Stream, c.Data); err != nil {
				return err
			}
			continue
		}
		for _, sink := range b.Sinks {
			if err := b.Emit(sink, c.Data); err != nil {
				return err
			}
		}
	}
	return nil
}

// Fail reads the input, then reports an error.
func Fail(trace string) Script {
	return func(b *Bundle) error {
		b.ReadAll()
		return errors.New(trace)
	}
}

// Die breaks the harness's connections in the middle of a bundle.
func Die(b *Bundle) error {
	b.Next()
	go b.Harness.Kill()
	<-b.Harness.Done()
	return errSilent
}

// Hang reads the input and never answers; it ends with the harness.
func Hang(b *Bundle) error {
	b.ReadAll()
	<-b.Harness.Done()
	return errSilent
}

// ReadAll reads the rest of the input.
func (b *Bundle) ReadAll() []Chunk {
	var all []Chunk
	for c, ok := b.Next(); ok; c, ok = b.Next() {
		all = append(all, c)
	}
	return all
}
