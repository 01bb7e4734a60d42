package main

import (
	"flag"
	"fmt"
	"time"

	"fresnel/fnapi"
)

// workerFlags say how workers are looked after.
type workerFlags struct {
	timeout                time.Duration
	stuckAfter, stuckLimit time.Duration
	memoryLimit            string
}

func (w *workerFlags) flags(fs *flag.FlagSet) {
	fs.DurationVar(&w.timeout, "worker-timeout", 5*time.Minute, "how long a worker with work may not answer until it counts as hung, is killed and replaced; 0 is without end")
	fs.DurationVar(&w.stuckAfter, "stuck-after", 5*time.Minute, "how long a bundle may make no progress until the job's messages say so, with its step and stack; 0 is never")
	fs.DurationVar(&w.stuckLimit, "stuck-limit", 0, "how long a bundle may make no progress until its worker is replaced, and it is tried again; 0 is without end.\n"+
		"A pipeline sets its own with --element_processing_timeout_minutes")
	fs.StringVar(&w.memoryLimit, "worker-memory-limit", "", "what one worker process may hold of memory, for example 2GB, until it is replaced between bundles; 0 is no limit\n"+
		"(default: its share of three quarters of the machine's or control group's, while less than a tenth is left)")
}

// configure sets what the flags say of the server that workers connect to.
func (w *workerFlags) configure(c *fnapi.Config) error {
	c.AnswerPatience = orNever(w.timeout)
	if w.memoryLimit == "" {
		return nil
	}
	bytes, err := parseSize(w.memoryLimit)
	if err != nil {
		return fmt.Errorf("--worker-memory-limit: %w", err)
	}
	c.WorkerMemory = orNever(bytes)
	return nil
}

// orNever makes 0 what configurations know as never.
func orNever[N ~int64](n N) N {
	if n == 0 {
		return -1
	}
	return n
}
