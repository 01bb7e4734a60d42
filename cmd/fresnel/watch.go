package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"fresnel/jobservice/jobclient"
)

// watch follows the jobs of a program that runs: it shows their progress, and
// asks what to do when the user interrupts.
type watch struct {
	runConfig
	// ctx ends when the program is to be ended.
	ctx  context.Context
	stop context.CancelFunc

	stdout, stderr io.Writer // for the program
	screen         *screen   // nil where lines do not stay
	out            io.Writer // for our own words
	signals        chan os.Signal
	closed         sync.Once

	client *jobclient.Client
	dir    string // of the hook
	job    string // the newest
	state  jobclient.State
	began  time.Time
	latest progress
	shown  time.Time
	asking chan string // the answer to the question, while it is open
	asked  string      // what the user chose: drain, cancel
}

func newWatch(c runConfig) *watch {
	w := &watch{runConfig: c, stdout: os.Stdout, stderr: os.Stderr, out: os.Stderr, signals: make(chan os.Signal, 4)}
	w.ctx, w.stop = context.WithCancel(context.Background())
	if _, _, terminal := terminalSize(os.Stderr); terminal && c.progress == "auto" && !c.json {
		w.screen = &screen{terminal: os.Stderr}
		w.out = w.screen.under(os.Stderr)
		w.stderr = w.out
		if _, _, terminal := terminalSize(os.Stdout); terminal {
			w.stdout = w.screen.under(os.Stdout)
		}
	}
	if c.json {
		w.stdout = os.Stderr
	}
	signal.Notify(w.signals, os.Interrupt, syscall.SIGTERM)
	return w
}

func (w *watch) close() {
	w.closed.Do(func() {
		signal.Stop(w.signals)
		w.stop()
		if w.screen != nil {
			w.screen.show(nil)
		}
		if w.client != nil {
			w.client.Close()
		}
	})
}

// say tells the user something of our own.
func (w *watch) say(text string) { fmt.Fprintln(w.out, "fresnel:", text) }

// tell writes a value for machines.
func (w *watch) tell(v any) { _ = json.NewEncoder(os.Stdout).Encode(v) } // who does not listen has not asked

// follow has the jobs watched whose ids the hook writes down in dir.
func (w *watch) follow(endpoint, dir string) (err error) {
	if w.client, err = jobclient.Dial(endpoint); err != nil {
		return err
	}
	w.dir = dir
	if w.detach {
		err = w.mark("detach")
	}
	return errors.Join(err, w.mark("asks"))
}

// mark tells the hook something.
func (w *watch) mark(what string) error { return os.WriteFile(filepath.Join(w.dir, what), nil, 0o644) }

// marked tells whether the hook has told something.
func (w *watch) marked(what string) bool {
	_, err := os.Stat(filepath.Join(w.dir, what))
	return err == nil
}

const watchEvery = 250 * time.Millisecond

// run runs the program and watches its jobs.
func (w *watch) run(p *client) error {
	remove, err := p.installHook()
	if err != nil {
		return err
	}
	defer remove()
	if err := w.follow(p.endpoint, p.hook); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- p.run(w.ctx) }()
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			return w.outcome(err)
		case s := <-w.signals:
			w.interrupted(s)
		case answer := <-w.asking:
			w.asking = nil
			w.obey(answer)
		case <-tick.C:
			w.look()
		}
	}
}

// outcome tells how it ended, and gives the program's status.
func (w *watch) outcome(err error) error {
	w.look()
	if w.job != "" {
		w.conclude()
	}
	switch {
	case w.asked == "cancel" || w.ctx.Err() != nil:
		return exitCode(exitCancelled)
	case err == nil && w.state == jobclient.Failed && w.marked("left"):
		return exitCode(exitFailed) // the program had come to its end before
	case err == nil && w.state != "" && !w.state.Ended() && !w.detach:
		return exitCode(exitFailed) // it left its job behind
	default:
		return err
	}
}

func (w *watch) conclude() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if state, _, err := w.client.State(ctx, w.job); err == nil {
		w.state = state
	}
	why := ""
	if w.state == jobclient.Failed {
		_, why, _ = w.client.Wait(ctx, w.job) // it has ended; without an answer the state is all that is told
		why = cause(why)
	}
	w.quietly(func() {
		if w.detach && !w.state.Ended() {
			w.say(fmt.Sprintf("job %s is %s, and goes on: fresnel jobs show %s --server=%s", w.job, w.state, w.job, w.server))
			return
		}
		if !w.state.Ended() {
			w.say("the program has ended before its job, which was " + string(w.state))
			return
		}
		text := fmt.Sprintf("%s after %s", w.state, lagText(time.Since(w.began)))
		if w.latest.records > 0 {
			text += fmt.Sprintf(", %s records", grouped(w.latest.records))
		}
		if why != "" {
			text += ": " + why
		}
		w.say(text)
	})
	if w.json {
		last := map[string]any{"job": w.job, "state": w.state, "seconds": time.Since(w.began).Seconds()}
		if why != "" {
			last["error"] = why
		}
		w.tell(last)
	}
}

// quietly does what is said unless the user wants to hear nothing.
func (w *watch) quietly(do func()) {
	if w.screen != nil {
		w.screen.show(nil)
	}
	if w.progress != "none" && !w.json {
		do()
	}
}

// look finds new jobs and shows how far the newest is.
func (w *watch) look() {
	job := newestJob(w.dir)
	if job == "" {
		return
	}
	if job != w.job {
		w.job, w.began, w.latest, w.state = job, time.Now(), progress{}, ""
		if w.json {
			w.tell(map[string]any{"job": job})
		}
	}
	if w.progress == "none" && !w.json || w.state.Ended() || time.Since(w.shown) < w.pause() {
		return
	}
	w.shown = time.Now()
	w.measure()
}

// newestJob is the last id that the hook wrote down.
func newestJob(dir string) string {
	if dir == "" {
		return ""
	}
	text, err := os.ReadFile(filepath.Join(dir, "jobs"))
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return lines[len(lines)-1]
}

// pause is the time between two looks at a job.
func (w *watch) pause() time.Duration {
	switch {
	case w.screen != nil:
		return 500 * time.Millisecond
	case w.json:
		return time.Second
	case time.Since(w.began) < 5*time.Second:
		return watchEvery
	}
	return 10 * time.Second
}

func (w *watch) measure() {
	ctx, cancel := context.WithTimeout(w.ctx, 3*time.Second)
	defer cancel()
	state, _, err := w.client.State(ctx, w.job)
	if err != nil {
		return
	}
	w.state = state
	_, stages, err := w.client.Metrics(ctx, w.job)
	if err != nil || len(stages) == 0 {
		return
	}
	w.latest = newProgress(stages, time.Now()).after(w.latest)
	w.display()
}

func (w *watch) display() {
	p := w.latest
	switch {
	case w.json:
		w.tell(map[string]any{"job": w.job, "state": w.state, "seconds": time.Since(w.began).Seconds(), "records": p.records,
			"rate": max(p.rate, 0), "lag_seconds": p.lagSeconds(), "stages": p.stages})
	case w.screen != nil && w.asking == nil:
		head := fmt.Sprintf("%s %s  %s", w.state, ago(time.Since(w.began)), p.line())
		columns, _, _ := terminalSize(w.screen.terminal)
		w.screen.show(append([]string{head}, p.table(min(columns, 120))...))
	case w.screen == nil && time.Since(w.began) > 5*time.Second:
		w.say(fmt.Sprintf("%s %s  %s", w.state, ago(time.Since(w.began)), p.line()))
	}
}

// interrupted is Ctrl-C, or the end of the session. The first Ctrl-C on a
// terminal asks; a second one, and any other signal, cancels.
func (w *watch) interrupted(s os.Signal) {
	w.look() // it may have submitted a job just now
	_, _, terminal := terminalSize(os.Stdin)
	switch {
	case w.job == "" || w.state.Ended():
		w.stop()
	case s == os.Interrupt && terminal && w.asking == nil && w.asked == "":
		w.ask()
	case w.asked == "cancel":
		w.stop()
	default:
		w.obey("c")
	}
}

// ask asks once what to do with the job.
func (w *watch) ask() {
	if w.screen != nil {
		w.screen.show(nil)
	}
	w.say("the job runs. [d]rain: it stops reading and finishes what it has; [c]ancel, or Ctrl-C again; anything else: go on")
	answer := make(chan string, 1)
	w.asking = answer
	go func() {
		line, _ := bufio.NewReader(os.Stdin).ReadString('\n') // at its end nothing is chosen
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
}

// obey does what was chosen.
func (w *watch) obey(answer string) {
	ctx, cancel := context.WithTimeout(w.ctx, 10*time.Second)
	defer cancel()
	var err error
	switch {
	case strings.HasPrefix(answer, "d"):
		w.asked = "drain"
		_, err = w.client.Drain(ctx, w.job)
		w.say("draining")
	case strings.HasPrefix(answer, "c"):
		w.asked = "cancel"
		_, err = w.client.Cancel(ctx, w.job)
		err = errors.Join(err, w.mark("cancelled"))
		w.say("cancelling")
		time.AfterFunc(interruptGrace, w.stop) // should the program not end with its job
	default:
		w.say("going on")
	}
	if err != nil {
		w.say(err.Error())
	}
}
