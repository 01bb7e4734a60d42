package main

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"fresnel/jobservice"
)

// place says where a server keeps its jobs.
type place struct {
	path string
	// named tells that the user chose it; otherwise it is a good place to have,
	// and none will do.
	named bool
}

// choosePlace is for a server of the user's own: where the flag says,
// or the environment, or else custom.
func choosePlace(flag string) place {
	if path := cmp.Or(flag, os.Getenv("FRESNEL_DATA_DIR")); path != "" {
		return place{path: path, named: true}
	}
	if state := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(state) { // others are to be ignored, says XDG
		return place{path: filepath.Join(state, "fresnel")}
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return place{}
	}
	return place{path: filepath.Join(home, ".local", "state", "fresnel")}
}

// placeOfRun is for a server that ends with one pipeline's program: it keeps
// nothing unless told to.
func placeOfRun(flag string) place { return place{path: flag, named: flag != ""} }

// open takes the directory. It returns nil if the server has to do without.
func (p place) open(durability string, log *slog.Logger) (*jobservice.DataDir, error) {
	if p.path == "" {
		return nil, wantPlace(durability, nil, log)
	}
	data, err := jobservice.OpenDataDir(p.path)
	switch {
	case err == nil:
		return data, nil
	case !p.named:
		return nil, wantPlace(durability, err, log)
	}
	return nil, fmt.Errorf("%w: choose the directory with --data-dir or FRESNEL_DATA_DIR", err)
}

// wantPlace decides what it means that there is no place, because of err, if
// there could be one.
func wantPlace(durability string, err error, log *slog.Logger) error {
	switch {
	case durability == "disk":
		return errors.Join(errors.New("--durability=disk needs a directory: choose one with --data-dir"), err)
	case err != nil:
		log.Warn("jobs live in memory, and end with this server: choose another directory with --data-dir", "error", err)
	}
	return nil
}

// checkDurability refuses what --durability does not know, and returns auto for
// what was not given.
func checkDurability(value string) (string, error) {
	value = cmp.Or(value, "auto")
	if !slices.Contains([]string{"auto", "memory", "disk"}, value) {
		return "", fmt.Errorf("--durability %q is none of auto, memory, disk", value)
	}
	return value, nil
}
