package connectors

import (
	"errors"

	"fresnel/internal/beam"
)

// At puts the user's transform name on an error that names a setting or no
// place at all.
func At(err error, name string) error {
	var e *beam.Error
	switch {
	case err == nil || name == "":
		return err
	case !errors.As(err, &e):
		return &beam.Error{Code: beam.Internal, Where: name, Cause: err}
	case e.Where == name:
		return err
	}
	at := *e
	if at.Where = name; e.Where != "" {
		at.Where = name + ", " + e.Where
	}
	return &at
}
