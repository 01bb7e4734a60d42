package main

import (
	"bufio"
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Every flag of every subcommand can be set in three places; the first of them
// counts:
//
//	the command line              fresnel serve --job_port=9000
//	an environment variable       FRESNEL_JOB_PORT=9000
//	the configuration file        job_port = 9000
//
// The file is the one that FRESNEL_CONFIG names, or else fresnel/config in the
// user's directory of configurations, if it is there. Lines before the first
// [SUBCOMMAND] are for all subcommands that have such a flag, those after it for
// that one alone. A # that begins a line, or comes after a space, begins a
// comment. Where jobs are kept is said for
// serve alone: a server that ends with one program must not take its place.

// usageError is a command line that cannot be understood.
type usageError struct{ error }

func (u usageError) Unwrap() error { return u.error }

// parse parses a subcommand's command line, over what else sets its flags.
func parse(fs *flag.FlagSet, args []string) error {
	name := strings.TrimPrefix(fs.Name(), "fresnel ")
	settings, err := settings(name)
	if err != nil {
		return usageError{err}
	}
	var wrong error
	fs.VisitAll(func(f *flag.Flag) {
		if name != "serve" && slices.Contains([]string{"data_dir", "durability"}, flagName(f.Name)) {
			return
		}
		value, from := settings[flagName(f.Name)], "the configuration file"
		if env := variable(f.Name); os.Getenv(env) != "" {
			value, from = os.Getenv(env), env
		}
		if value == "" {
			return
		}
		if err := fs.Set(f.Name, value); err != nil {
			wrong = cmp.Or(wrong, fmt.Errorf("%s: --%s=%q: %w", from, f.Name, value, err))
		}
	})
	if wrong != nil {
		return usageError{wrong}
	}
	return parseFlags(fs, args)
}

// variable is the environment variable that sets a flag.
func variable(name string) string { return "FRESNEL_" + strings.ToUpper(flagName(name)) }

// flagName is a flag's name with one spelling for dashes.
func flagName(name string) string { return strings.ReplaceAll(name, "-", "_") }

// configFile is the path of the configuration file, and whether it has to be
// there.
func configFile() (path string, named bool) {
	if path := os.Getenv("FRESNEL_CONFIG"); path != "" {
		return path, true
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", false
	}
	return filepath.Join(dir, "fresnel", "config"), false
}

// settings are the configuration file's for a subcommand.
func settings(subcommand string) (map[string]string, error) {
	path, named := configFile()
	if path == "" {
		return nil, nil
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the configuration file: %w", err)
	}
	defer f.Close()
	all, err := readSettings(bufio.NewScanner(f), subcommand)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return all, nil
}

func readSettings(lines *bufio.Scanner, subcommand string) (map[string]string, error) {
	all, section := map[string]string{}, ""
	for n := 1; lines.Scan(); n++ {
		line := uncommented(lines.Text())
		if line == "" {
			continue
		}
		if inner, ok := strings.CutPrefix(line, "["); ok && strings.HasSuffix(inner, "]") {
			section = strings.TrimSpace(strings.TrimSuffix(inner, "]"))
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if !ok {
			return nil, fmt.Errorf("line %d is not NAME = VALUE, as in job_port = 8073", n)
		}
		if section == "" || section == subcommand {
			all[flagName(strings.TrimSpace(name))] = strings.Trim(strings.TrimSpace(value), `"'`)
		}
	}
	return all, lines.Err()
}

// uncommented is a line without the comment at its end.
func uncommented(line string) string {
	if strings.HasPrefix(strings.TrimSpace(line), "#") {
		return ""
	}
	line, _, _ = strings.Cut(line, " #")
	return strings.TrimSpace(line)
}
