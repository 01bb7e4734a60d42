package python

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"fresnel/fnapi/boot/child"
)

// Recipe says how a virtual environment is made. Two with the same base and key
// are the same.
type Recipe struct {
	Base Interpreter
	// Inherit lets it see the packages of the base behind its own.
	Inherit bool
	// Key stands for the content of all that is installed.
	Key string
	// Steps are done in order.
	Steps []Step
	// Dir is where paths in them begin that are not absolute; empty is here.
	Dir string
}

// Step is one thing to install: the arguments of `pip install` that lead there,
// the next ones where those before fail.
type Step struct {
	What  string
	Tries [][]string
}

// Environment is a virtual environment in use. It is not removed before
// Release, or before this process ends.
type Environment struct {
	Interpreter
	Release func()
}

// Make returns the recipe's environment, made by this call if it is not there.
// Of several processes that call it at once, one makes it. What pip tells goes
// to say, by lines.
func (r Recipe) Make(ctx context.Context, say func(string)) (Environment, error) {
	v := venv{dir: filepath.Join(CacheDir(), r.name()), print: say, in: r.Dir}
	if err := os.MkdirAll(filepath.Dir(v.dir), 0o700); err != nil {
		return Environment{}, err
	}
	if err := v.ensure(ctx, r); err != nil {
		return Environment{}, err
	}
	release, err := lockShared(ctx, v.dir+".lock")
	if err != nil {
		return Environment{}, err
	}
	i := r.Base
	i.Path = v.python()
	return Environment{i, release}, nil
}

// Ready tells whether the environment is there already.
func (r Recipe) Ready() bool { return venv{dir: filepath.Join(CacheDir(), r.name())}.ready() }

// CacheDir is where environments are kept: FRESNEL_CACHE, or the user's cache.
func CacheDir() string {
	if dir, err := filepath.Abs(os.Getenv("FRESNEL_CACHE")); err == nil && os.Getenv("FRESNEL_CACHE") != "" {
		return filepath.Join(dir, "venvs")
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	return filepath.Join(cache, "fresnel", "venvs")
}

// name is the environment's directory.
func (r Recipe) name() string {
	b := r.Base
	key := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %v %q", b.Path, b.Version, b.Beam, r.Inherit, r.Key))
	return hex.EncodeToString(key[:16])
}

// venv is a virtual environment.
type venv struct {
	dir   string
	in    string // what is run, runs there
	print func(string)
}

func (v venv) python() string { return filepath.Join(v.dir, "bin", "python") }
func (v venv) done() string   { return filepath.Join(v.dir, "fresnel-ready") }

// ready tells whether the environment is there, and the Python that it stands on
// still is.
func (v venv) ready() bool {
	_, unmade := os.Stat(v.done())
	_, gone := os.Stat(v.python()) // a link to the base's
	return unmade == nil && gone == nil
}

// ensure makes the environment if it is not there. It waits for another process
// that does so.
func (v venv) ensure(ctx context.Context, r Recipe) error {
	unlock, err := v.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if v.ready() {
		now := time.Now()
		_ = os.Chtimes(v.done(), now, now) // it only looks older than it is
		return nil
	}
	prune(filepath.Dir(v.dir), time.Now())
	return v.make(ctx, r)
}

// lock waits until the environment is there, or until it is ours to make, and
// says so if that takes a while.
func (v venv) lock(ctx context.Context) (unlock func(), err error) {
	told := time.AfterFunc(time.Second, func() { v.say("another worker makes the same virtual environment: waiting for it") })
	defer told.Stop()
	for {
		unlock, err = lockShared(ctx, v.dir+".lock")
		if err != nil || v.ready() {
			return unlock, err
		}
		unlock()
		// Whoever makes it meanwhile uses it from then on, and keeps us from locking it
		// alone for as long: so this does not wait.
		unlock, err = tryLock(v.dir + ".lock")
		if !isLocked(err) {
			return unlock, err
		}
		if err := pause(ctx); err != nil {
			return nil, err
		}
	}
}

// lockPoll is how often a lock that somebody has is tried again.
const lockPoll = 100 * time.Millisecond

// pause waits for that long.
func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(lockPoll):
		return nil
	}
}

// make builds the environment from nothing: one that was left half-made is not
// trusted.
func (v venv) make(ctx context.Context, r Recipe) error {
	if err := os.RemoveAll(v.dir); err != nil {
		return err
	}
	if err := v.found(ctx, r); err != nil {
		return fmt.Errorf("cannot make a virtual environment (Debian has it in the package python3-venv): %w", err)
	}
	for _, s := range r.Steps {
		if err := v.install(ctx, s); err != nil {
			return err
		}
	}
	return os.WriteFile(v.done(), nil, 0o600)
}

// found makes an environment without packages of its own. Where it inherits,
// the base's pip is used, if it has one, since installing another takes
// seconds.
func (v venv) found(ctx context.Context, r Recipe) error {
	if !r.Inherit {
		return v.run(ctx, r.Base.Path, "-m", "venv", v.dir)
	}
	if err := v.run(ctx, r.Base.Path, "-m", "venv", "--without-pip", v.dir); err != nil {
		return err
	}
	if err := v.inherit(r.Base); err != nil {
		return err
	}
	if v.run(ctx, v.python(), "-c", "import pip") == nil {
		return nil
	}
	return v.run(ctx, v.python(), "-m", "ensurepip")
}

// inherit lets the environment see the packages of base behind its own.
// --system-site-packages would not: of a base that is a virtual environment
// itself it takes the packages of the system.
func (v venv) inherit(base Interpreter) error {
	sites := filepath.Join(v.dir, "lib", "python"+base.Version, "site-packages")
	return os.WriteFile(filepath.Join(sites, "fresnel-base.pth"), []byte(strings.Join(base.Sites, "\n")+"\n"), 0o600)
}

func (v venv) install(ctx context.Context, s Step) error {
	var err error
	for n, args := range s.Tries {
		if n > 0 {
			v.say(s.What + ": that failed, trying another way")
		}
		if err = v.pip(ctx, args...); err == nil || ctx.Err() != nil {
			return err
		}
	}
	return err
}

// pip installs. Bytecode is left to Python, which makes it for what is imported
// when it is: of Beam's packages that is a small part, and pip takes a third of
// its time for all of it.
func (v venv) pip(ctx context.Context, args ...string) error {
	return v.run(ctx, v.python(), append([]string{"-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar", "off", "--no-compile"}, args...)...)
}

func (v venv) say(line string) {
	if v.print != nil {
		v.print(line)
	}
}

// stopGrace is what pip gets to end by itself.
const stopGrace = 5 * time.Second

// run runs a program to its end.
func (v venv) run(ctx context.Context, path string, args ...string) error {
	var tail child.Tail
	p, err := child.Start(child.Spec{Path: path, Args: args, Env: Environ(), Dir: v.in, Line: func(line string) {
		tail.Add(line)
		v.say(line)
	}})
	if err != nil {
		return err
	}
	select {
	case <-p.Done():
	case <-ctx.Done():
		p.Stop(stopGrace)
		return ctx.Err()
	}
	if p.Err() != nil {
		return fmt.Errorf("%s: %s", strings.Join(append([]string{path}, args...), " "), tail.Describe(p.Err()))
	}
	return nil
}

// keepUnused is how long an environment that nobody uses is kept.
const keepUnused = 30 * 24 * time.Hour

// prune removes environments that have not been used for long: each version of
// a requirements file leaves one of up to a gigabyte. One that is in use is
// locked.
func prune(dir string, now time.Time) {
	ready, _ := filepath.Glob(filepath.Join(dir, "*", "fresnel-ready")) // the pattern is well-formed
	for _, path := range ready {
		if unused(path, now) {
			remove(filepath.Dir(path), now)
		}
	}
}

func unused(ready string, now time.Time) bool {
	info, err := os.Stat(ready)
	return err == nil && now.Sub(info.ModTime()) > keepUnused
}

func remove(dir string, now time.Time) {
	unlock, err := tryLock(dir + ".lock")
	if err != nil {
		return
	}
	defer unlock()
	ready := filepath.Join(dir, "fresnel-ready")
	if unused(ready, now) { // still: it may have been taken up meanwhile
		_ = errors.Join(os.Remove(ready), os.RemoveAll(dir)) // what stays is made anew
	}
}
