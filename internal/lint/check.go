package lint

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

const module = "fresnel"

// check returns what is wrong in the source tree of the module, as "FILE:LINE: what".
func check(tree fs.FS) ([]string, error) {
	c := &checker{files: token.NewFileSet()}
	if err := c.topLevel(tree); err != nil {
		return nil, err
	}
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && skipped(tree, name):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		return c.file(tree, name)
	})
	return c.wrong, err
}

// skipped directories hold no source of this module: hidden ones, test data, and modules of their own.
func skipped(tree fs.FS, dir string) bool {
	if dir == "." {
		return false
	}
	if base := path.Base(dir); strings.HasPrefix(base, ".") || base == "testdata" {
		return true
	}
	_, err := fs.Stat(tree, path.Join(dir, "go.mod"))
	return err == nil
}

type checker struct {
	files *token.FileSet
	wrong []string
}

func (c *checker) topLevel(tree fs.FS) error {
	entries, err := fs.ReadDir(tree, ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") && !slices.Contains(topLevel, e.Name()) {
			c.wrong = append(c.wrong, fmt.Sprintf("%s: not one of the top level's directories: %s",
				e.Name(), strings.Join(topLevel, " ")))
		}
	}
	return nil
}

func (c *checker) file(tree fs.FS, name string) error {
	text, err := fs.ReadFile(tree, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // removed while the tree was read
	}
	if err != nil {
		return err
	}
	file, err := parser.ParseFile(c.files, name, text, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	pkg := path.Dir(name)
	if slices.Contains(nameless, file.Name.Name) {
		c.report(file.Name, "package name %s says nothing: name what is in it", file.Name.Name)
	}
	r := ruleOf(pkg)
	if r == nil {
		c.report(file.Name, "package %s has no rule in internal/lint/rules.go", pkg)
		return nil
	}
	c.imports(r, pkg, file)
	if r.pure {
		c.impurities(r, file)
	}
	return nil
}

// ruleOf is the rule of the package or of the nearest one above it.
func ruleOf(pkg string) *rule {
	var best *rule
	for i := range rules {
		r := &rules[i]
		if within(pkg, r.pkg) && (best == nil || len(r.pkg) > len(best.pkg)) {
			best = r
		}
	}
	return best
}

func (c *checker) imports(r *rule, pkg string, file *ast.File) {
	for _, spec := range file.Imports {
		imported, _ := strconv.Unquote(spec.Path.Value)
		inside, local := strings.CutPrefix(imported, module+"/")
		switch {
		case local && !within(inside, pkg) && !withinAny(inside, r.imports):
			c.report(spec, "%s must not import %s (of this module, only: %s)", r.pkg, inside, listed(r.imports))
		case !local && withinAny(imported, r.never):
			c.report(spec, "%s must not know %s", r.pkg, imported)
		}
	}
}

// impurities reports goroutines and the clock.
func (c *checker) impurities(r *rule, file *ast.File) {
	clock := importName(file, "time")
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			c.report(n, "%s is pure: no goroutines", r.pkg)
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && clock != "" && x.Name == clock && slices.Contains(clockCalls, n.Sel.Name) {
				c.report(n, "%s is pure: no clock, so no time.%s", r.pkg, n.Sel.Name)
			}
		}
		return true
	})
}

// importName is the name under which the file imports a package, empty if it does not.
func importName(file *ast.File, imported string) string {
	for _, spec := range file.Imports {
		if spec.Path.Value != strconv.Quote(imported) {
			continue
		}
		if spec.Name != nil {
			return spec.Name.Name
		}
		return path.Base(imported)
	}
	return ""
}

func (c *checker) report(at ast.Node, format string, args ...any) {
	pos := c.files.Position(at.Pos())
	c.wrong = append(c.wrong, fmt.Sprintf("%s:%d: ", pos.Filename, pos.Line)+fmt.Sprintf(format, args...))
}

// within tells if a path is dir or below it.
func within(p, dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }

func withinAny(p string, dirs []string) bool {
	return slices.ContainsFunc(dirs, func(dir string) bool { return within(p, dir) })
}

func listed(pkgs []string) string {
	if len(pkgs) == 0 {
		return "nothing"
	}
	return strings.Join(pkgs, ", ")
}
