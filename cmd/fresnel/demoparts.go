package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// embeddedParts is the process that stands in for Kafka and MySQL
// (examples/cdn/embedded). It ends with ours, at the end of its input.
type embeddedParts struct {
	Kafka, MySQL string // HOST:PORT

	cmd   *exec.Cmd
	stdin io.Closer
}

// startEmbedded starts the program at path, or else the one beside our own.
func startEmbedded(path string) (*embeddedParts, error) {
	if path == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		path = filepath.Join(filepath.Dir(self), "embedded")
	}
	p := &embeddedParts{cmd: exec.Command(path)}
	p.cmd.Stderr = os.Stderr
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	p.stdin = stdin
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("the demo's Kafka and MySQL: %w (`make demo` builds them)", err)
	}
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, p)
	}
	if err != nil {
		p.stop()
		return nil, fmt.Errorf("the demo's Kafka and MySQL did not start: %w", err)
	}
	return p, nil
}

func (p *embeddedParts) stop() {
	_ = p.stdin.Close()
	_ = p.cmd.Wait() // how it ends matters to nobody
}
