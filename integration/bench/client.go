package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"
)

// client is a running workloads.py, which measures a workload as often as it is
// asked to.
type client struct {
	limit  time.Duration // of one measurement
	ctx    context.Context
	cancel context.CancelCauseFunc
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *bufio.Reader
	stderr bytes.Buffer
}

// stopLimit is how long a client has to end when there is nothing more to do.
const stopLimit = 10 * time.Second

func (b *bench) startClient(ctx context.Context, w workload) (*client, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	c := &client{limit: b.limit, ctx: ctx, cancel: cancel, cmd: exec.CommandContext(ctx, b.python, b.script, "--many", "--workload="+w.Name, "--data="+b.temp)}
	c.cmd.Stderr = &c.stderr
	c.cmd.WaitDelay = 5 * time.Second
	stdin, err := c.cmd.StdinPipe()
	if err != nil {
		cancel(err)
		return nil, err
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		cancel(err)
		return nil, err
	}
	c.stdin, c.stdout = stdin, bufio.NewReader(stdout)
	if err := c.cmd.Start(); err != nil {
		cancel(err)
		return nil, err
	}
	return c, nil
}

// measure has the workload run with further arguments.
func (c *client) measure(args ...string) (outcome, error) {
	late := time.AfterFunc(c.limit, func() { c.cancel(fmt.Errorf("stopped after %v", c.limit)) })
	defer late.Stop()
	if _, err := fmt.Fprintln(c.stdin, strings.Join(args, " ")); err != nil {
		return outcome{}, errors.Join(err, c.end())
	}
	o, err := answer(c.stdout)
	if errors.Is(err, io.EOF) { // it is gone
		return outcome{}, c.end()
	}
	return o, err
}

// answer reads what workloads.py says to one line of arguments, whatever user code
// prints before it. It is io.EOF when there is none.
func answer(stdout *bufio.Reader) (outcome, error) {
	var o outcome
	for {
		line, err := stdout.ReadString('\n')
		if text, ok := strings.CutPrefix(line, "RESULT "); ok {
			return o, json.Unmarshal([]byte(text), &o)
		}
		if text, ok := strings.CutPrefix(line, "FAILED "); ok {
			var trace string
			if err := json.Unmarshal([]byte(text), &trace); err != nil {
				return o, err
			}
			return o, errors.New(tail(trace))
		}
		if err != nil {
			return o, err
		}
	}
}

// end waits for a client that gives no more answers, and tells why.
func (c *client) end() error {
	c.wait()
	defer c.cancel(nil)
	return fmt.Errorf("workloads.py has ended: %w\n%s", cmp.Or(context.Cause(c.ctx), errors.New(c.cmd.ProcessState.String())), tail(c.stderr.String()))
}

// stop ends it.
func (c *client) stop() {
	c.wait()
	c.cancel(nil)
}

// wait has it end by itself, or else killed.
func (c *client) wait() {
	_ = c.stdin.Close()
	slow := time.AfterFunc(stopLimit, func() { c.cancel(fmt.Errorf("killed after %v", stopLimit)) })
	defer slow.Stop()
	_ = c.cmd.Wait() // or it did before
}
