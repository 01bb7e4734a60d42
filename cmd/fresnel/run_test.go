package main

import (
	"flag"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestTheProgramBeginsWhereTheFlagsEnd(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"p.py --json":                           " | p.py --json",
		"--json p.py x":                         "--json | p.py x",
		"--python py p.py":                      "--python py | p.py",
		"--python=py --detach p.py --python=z":  "--python=py --detach | p.py --python=z",
		"--environment process -m mod --input=": "--environment process | -m mod --input=",
		"-- -m mod":                             " | -m mod",
		"--json":                                "--json | ",
	} {
		fs := flag.NewFlagSet("", flag.ContinueOnError)
		fs.String("python", "", "")
		fs.String("environment", "", "")
		fs.Bool("json", false, "")
		fs.Bool("detach", false, "")
		flags, words := splitProgram(fs, strings.Fields(line))
		if got := strings.Join(flags, " ") + " | " + strings.Join(words, " "); got != want {
			t.Errorf("%q: got %q, want %q", line, got, want)
		}
	}
}

func TestAProgramIsAFileAModuleOrAPipelineInYAML(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]program{
		"dir/p.py --x":     {args: []string{"dir/p.py", "--x"}, dir: "dir"},
		"-m mod --x":       {args: []string{"-m", "mod", "--x"}, dir: "."},
		"dir/p.yaml --x=y": {args: []string{"-m", "apache_beam.yaml.main", "--pipeline_spec_file=dir/p.yaml", "--x=y"}, dir: "dir", extra: "yaml"},
	} {
		got, err := newProgram(strings.Fields(line))
		if err != nil || !slices.Equal(got.args, want.args) || got.dir != want.dir || got.extra != want.extra {
			t.Errorf("%q: %+v, %v", line, got, err)
		}
		if name := got.name(); name != "p" && name != "mod" {
			t.Errorf("%q: named %s", line, name)
		}
	}
	for _, line := range []string{"", "-m"} {
		if _, err := newProgram(strings.Fields(line)); !isA[usageError](err) {
			t.Errorf("%q: error %v", line, err)
		}
	}
}

func TestWorkersOfAServerHereRunThePythonOfTheProgram(t *testing.T) {
	t.Parallel()
	for endpoint, want := range map[string]string{
		"localhost:1": `{"command":"fresnel boot","env":{"FRESNEL_PYTHON":"/bin/sh"}}`,
		"far.away:1":  `{"command":"fresnel boot"}`,
	} {
		p := &client{endpoint: endpoint, python: "/bin/sh"}
		if got := p.process(); got != want {
			t.Errorf("%s: %s", endpoint, got)
		}
	}
}

func TestDetachedRunsNeedAServerAndWorkersThatStay(t *testing.T) {
	var c runConfig
	if _, err := c.parse([]string{"--detach", "p.py"}); !isA[usageError](err) || !strings.Contains(err.Error(), "--server") {
		t.Errorf("without a server: %v", err)
	}
	c = runConfig{}
	if _, err := c.parse([]string{"--detach", "--server=h:1", "p.py"}); err != nil || c.environment != "process" {
		t.Errorf("environment %s, %v", c.environment, err)
	}
}

// TestThePythonPackageStandsInForTheSameServices: its runner leads transforms
// here as the hook does.
func TestThePythonPackageStandsInForTheSameServices(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../python/src/fresnel/expansion.py")
	if err != nil {
		t.Fatal(err)
	}
	var there []string
	for _, m := range regexp.MustCompile(`'(\S+:shadowJar)'`).FindAllStringSubmatch(string(text), -1) {
		there = append(there, m[1])
	}
	if !slices.Equal(there, overriddenTargets) {
		t.Errorf("there %q\nhere %q", there, overriddenTargets)
	}
}
