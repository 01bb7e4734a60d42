package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"fresnel/fnapi/boot/python"
)

// program is what `fresnel run` was given to run.
type program struct {
	// args are what Python gets, the program's own options included.
	args []string
	// dir is where its files are.
	dir string
	// extra is the extra of apache-beam that it needs, empty for none.
	extra string
	// python3 is the interpreter of that name, once it was inspected.
	python3 python.Interpreter
}

// splitProgram parts the flags of `fresnel run` from the program: it begins with
// the first word that is no flag, with -m or -c as for Python, or after --.
func splitProgram(fs *flag.FlagSet, args []string) (flags, program []string) {
	for i := 0; i < len(args); i++ {
		switch arg := args[i]; {
		case arg == "--":
			return args[:i], args[i+1:]
		case arg == "-m", arg == "-c", !strings.HasPrefix(arg, "-"):
			return args[:i], args[i:]
		case !strings.Contains(arg, "=") && takesValue(fs, arg):
			i++
		}
	}
	return args, nil
}

func takesValue(fs *flag.FlagSet, arg string) bool {
	f := fs.Lookup(strings.TrimLeft(arg, "-"))
	if f == nil {
		return false
	}
	b, ok := f.Value.(interface{ IsBoolFlag() bool })
	return !ok || !b.IsBoolFlag()
}

// newProgram reads a program's words: a .py file, a module after -m, or a
// pipeline in Beam YAML, which Beam has a program for.
func newProgram(words []string) (program, error) {
	if len(words) == 0 {
		return program{}, usageError{errors.New("run: name the pipeline's .py or .yaml file, or -m MODULE")}
	}
	switch first := words[0]; {
	case first == "-m" || first == "-c":
		if len(words) < 2 {
			return program{}, usageError{errors.New("run: " + first + " needs a word after it")}
		}
		return program{args: words, dir: "."}, nil
	case slices.Contains([]string{".yaml", ".yml"}, filepath.Ext(first)):
		args := []string{"-m", "apache_beam.yaml.main", "--pipeline_spec_file=" + first}
		return program{args: append(args, words[1:]...), dir: filepath.Dir(first), extra: "yaml"}, nil
	default:
		return program{args: words, dir: filepath.Dir(first)}, nil
	}
}

// exists checks that a file that was named is there, before an environment is
// made for it.
func (p program) exists() error {
	file := p.args[0]
	if p.extra == "yaml" {
		_, file, _ = strings.Cut(p.args[2], "=")
	}
	if strings.HasPrefix(file, "-") {
		return nil
	}
	if _, err := os.Stat(file); err != nil {
		return usageError{fmt.Errorf("run: there is no pipeline: %w", err)}
	}
	return nil
}

// name is what the program's jobs are called if it does not say.
func (p program) name() string {
	switch {
	case p.args[0] == "-c":
		return ""
	case p.extra == "yaml":
		_, file, _ := strings.Cut(p.args[2], "=")
		return bareName(file)
	case p.args[0] == "-m":
		return p.args[1][strings.LastIndex(p.args[1], ".")+1:]
	}
	return bareName(p.args[0])
}

// bareName is a file's name without directories and ending.
func bareName(path string) string {
	return strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
}
