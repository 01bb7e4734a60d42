package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

// parseFlags parses a command line. What is wrong with it is said in a line:
// package flag would list all flags behind it, and so take it off the screen.
func parseFlags(fs *flag.FlagSet, args []string) error {
	fs.SetOutput(io.Discard)
	err := fs.Parse(args)
	fs.SetOutput(os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fs.SetOutput(os.Stdout) // it was asked for
		if fs.Usage != nil {
			fs.Usage()
			return err
		}
		printFlags(fs, "usage: "+fs.Name()+" [flags]\n")
		return err
	case err != nil:
		return usageError{fmt.Errorf("%s: %w%s (%q lists the flags)", strings.TrimPrefix(fs.Name(), "fresnel "), err, advice(fs, err), fs.Name()+" -h")}
	}
	return nil
}

// advice is what may have been meant by a flag that is not there.
func advice(fs *flag.FlagSet, err error) string {
	_, name, unknown := strings.Cut(err.Error(), "not defined: -")
	if !unknown {
		return ""
	}
	if meant := nearest(fs, flagName(name)); meant != "" {
		return "; did you mean --" + meant + "?"
	}
	if fs.Name() == "fresnel run" {
		return "; options of the pipeline go behind its name"
	}
	return ""
}

// nearest is the flag whose name differs from a misspelt one in two letters at
// most.
func nearest(fs *flag.FlagSet, name string) string {
	best, distance := "", 3
	fs.VisitAll(func(f *flag.Flag) {
		if d := edits(flagName(f.Name), name); d < distance && d < len(name)/2 {
			best, distance = f.Name, d
		}
	})
	return best
}

// edits counts the letters to insert, remove or replace that lead from a to b.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
