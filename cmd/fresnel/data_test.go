package main

import (
	"bytes"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"fresnel/jobservice"
)

func TestTheDataDirectoryIsTheUsersOwnUnlessNamed(t *testing.T) {
	t.Setenv("HOME", "/home/ada")
	t.Setenv("XDG_STATE_HOME", "")
	t.Setenv("FRESNEL_DATA_DIR", "")
	for _, c := range []struct {
		flag, variable, xdg string
		want                place
	}{
		{"", "", "", place{path: "/home/ada/.local/state/fresnel"}},
		{"", "", "not/absolute", place{path: "/home/ada/.local/state/fresnel"}},
		{"", "", "/state", place{path: "/state/fresnel"}},
		{"", "/var/fresnel", "/state", place{path: "/var/fresnel", named: true}},
		{"/flag", "/var/fresnel", "/state", place{path: "/flag", named: true}},
	} {
		t.Setenv("FRESNEL_DATA_DIR", c.variable)
		t.Setenv("XDG_STATE_HOME", c.xdg)
		if got := choosePlace(c.flag); got != c.want {
			t.Errorf("%+v: %+v", c, got)
		}
	}
	if got := placeOfRun(""); got != (place{}) {
		t.Errorf("fresnel run keeps jobs in %+v", got)
	}
}

func TestADataDirectoryHasOneServer(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "data")
	var warnings bytes.Buffer
	log := slog.New(slog.NewTextHandler(&warnings, nil))
	first, err := place{path: path}.open("auto", log)
	if err != nil || warnings.Len() > 0 {
		t.Fatal(err, warnings.String())
	}
	_, err = place{path: path, named: true}.open("auto", log)
	if !errors.Is(err, jobservice.ErrDataDirInUse) || !strings.Contains(err.Error(), "--data-dir") || !strings.Contains(err.Error(), path) {
		t.Errorf("named: %v", err)
	}
	if _, err = (place{path: path}).open("disk", log); err == nil || !strings.Contains(err.Error(), "--durability=disk") {
		t.Errorf("with disk: %v", err)
	}
	data, err := place{path: path}.open("auto", log)
	if data != nil || err != nil || !strings.Contains(warnings.String(), "jobs live in memory") {
		t.Errorf("not named: %v, %v, %s", data, err, warnings.String())
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := place{path: path, named: true}.open("disk", log)
	if err != nil {
		t.Fatal(err)
	}
	_ = again.Close()
}

func TestDurabilityIsChecked(t *testing.T) {
	t.Parallel()
	if got, err := checkDurability(""); got != "auto" || err != nil {
		t.Error(got, err)
	}
	if _, err := checkDurability("ssd"); err == nil || !strings.Contains(err.Error(), "auto, memory, disk") {
		t.Error(err)
	}
}
