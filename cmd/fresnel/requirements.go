package main

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// requirements is what requirements of pip's say, with the files and directories
// that they name: an environment that was made from them is another one when any
// of these changes.
type requirements struct {
	// names and limits are the lines that ask for packages, and those of constraints.
	names, limits []string
	// local tells that packages are built from files here, which may depend on more.
	local bool

	dir  string // where pip resolves paths, but of other requirements files
	sum  hash.Hash
	seen map[string]bool
}

// readRequirements reads a file as `pip install -r` does in its own directory.
func readRequirements(path string) *requirements {
	r := newRequirements(filepath.Dir(path))
	r.file(path, false)
	return r
}

func newRequirements(dir string) *requirements {
	return &requirements{dir: dir, sum: sha256.New(), seen: map[string]bool{}}
}

// digest stands for all contents.
func (r *requirements) digest() string { return fmt.Sprintf("%x", r.sum.Sum(nil)) }

// file takes in a requirements file; pip says what is wrong with one that cannot
// be read.
func (r *requirements) file(path string, constraint bool) {
	if r.seen[path] {
		return
	}
	r.seen[path] = true
	text, _ := os.ReadFile(path)
	fmt.Fprintf(r.sum, "%s %d\n%s", filepath.Base(path), len(text), text)
	for line := range strings.Lines(strings.ReplaceAll(string(text), "\\\n", " ")) {
		r.line(filepath.Dir(path), line, constraint)
	}
}

var (
	comment = regexp.MustCompile(`(^|\s)#.*$`)
	option  = regexp.MustCompile(`^(-[rcef]|--requirement|--constraint|--editable|--find-links)(?:[ =]\s*|\b)(.*)$`)
	// behindPath is what may follow the path of a package: extras, a marker, options.
	behindPath = regexp.MustCompile(`(\[[^\]]*\])?\s*(;.*|\s--.*)?$`)
	namedURL   = regexp.MustCompile(`^[\w.-]+\s*(?:\[[^\]]*\])?\s*@\s*`)
)

// line takes in one line of a file in dir.
func (r *requirements) line(dir, line string, constraint bool) {
	line = strings.TrimSpace(comment.ReplaceAllString(line, ""))
	m := option.FindStringSubmatch(line)
	switch {
	case m == nil && constraint:
		r.limits = append(r.limits, line)
	case m == nil:
		r.names = append(r.names, line)
		r.packageAt(line, everyFile)
	case m[1] == "-r" || m[1] == "--requirement":
		r.file(within(dir, m[2]), constraint)
	case m[1] == "-c" || m[1] == "--constraint":
		r.file(within(dir, m[2]), true)
	case m[1] == "-e" || m[1] == "--editable":
		r.packageAt(m[2], declarations)
	default:
		r.tree(within(r.dir, localPath(m[2])), everyFile)
	}
}

// packageAt takes in what a requirement names by a path, if it does.
func (r *requirements) packageAt(requirement string, which func(name string) bool) {
	path := localPath(requirement)
	if !looksLikePath(path) {
		return
	}
	path = within(r.dir, path)
	if _, err := os.Stat(path); err == nil {
		r.local = true
		r.tree(path, which)
	}
}

// looksLikePath is pip's way to tell a path from a package's name.
func looksLikePath(text string) bool {
	return strings.HasPrefix(text, ".") || strings.ContainsAny(text, `/\`) ||
		slices.ContainsFunc([]string{".whl", ".zip", ".tar.gz", ".tgz"}, func(end string) bool { return strings.HasSuffix(text, end) })
}

// localPath is the path in a requirement or a URL.
func localPath(requirement string) string {
	text := namedURL.ReplaceAllString(behindPath.ReplaceAllString(strings.Trim(requirement, `'"`), ""), "")
	return strings.TrimPrefix(strings.TrimPrefix(text, "file:"), "//")
}

func within(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

func everyFile(string) bool { return true }

// declarations are the files of a project that its installation depends on where
// its modules stay where they are.
func declarations(name string) bool {
	return slices.Contains([]string{"pyproject.toml", "setup.py", "setup.cfg"}, name)
}

// byproducts are directories of a project that are no part of it.
var byproducts = []string{"__pycache__", "build", "dist", "venv", "node_modules"}

// tree takes in a file, or the files of a directory.
func (r *requirements) tree(root string, which func(name string) bool) {
	_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		name := d.Name()
		switch {
		case err != nil:
			return nil //nolint:nilerr // pip says what is wrong with it
		case d.IsDir() && path != root && (strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".egg-info") || slices.Contains(byproducts, name)):
			return filepath.SkipDir
		case d.Type().IsRegular() && which(name):
			r.content(root, path)
		}
		return nil
	})
}

// maxRead is the size from which on a file counts by its time, not its content.
const maxRead = 8 << 20

func (r *requirements) content(root, path string) {
	name, _ := filepath.Rel(root, path)
	info, err := os.Stat(path)
	if err != nil {
		return
	}
	fmt.Fprintf(r.sum, "%s %d\n", name, info.Size())
	if info.Size() > maxRead {
		fmt.Fprintln(r.sum, info.ModTime().Format(time.RFC3339Nano))
		return
	}
	if f, err := os.Open(path); err == nil {
		_, _ = io.Copy(r.sum, f) // pip says what is wrong with it
		_ = f.Close()
	}
}
