package main

import (
	"flag"
	"strings"
	"testing"
)

func TestAFlagThatIsNotThereIsToldInALine(t *testing.T) {
	t.Parallel()
	for arg, want := range map[string]string{
		"--evnironment=process": "did you mean --environment?",
		"--data-dri=x":          "did you mean --data_dir?",
		"--input=x":             "options of the pipeline go behind its name",
		"--n=x":                 `"fresnel run -h" lists the flags`,
	} {
		fs := flag.NewFlagSet("fresnel run", flag.ContinueOnError)
		fs.String("environment", "", "")
		fs.String("data_dir", "", "")
		fs.Int("n", 0, "")
		err := parseFlags(fs, []string{arg})
		if !isA[usageError](err) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %s", arg, err, want)
		}
	}
}
