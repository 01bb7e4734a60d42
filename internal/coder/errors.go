package coder

import (
	"fmt"

	"fresnel/internal/beam"
)

// ErrShort says that the bytes end inside the element. More bytes may
// complete it. It is returned as it is, never wrapped.
var ErrShort error = &beam.Error{Code: beam.BadData, What: "the data ends inside an element"}

// malformed is the error for bytes that no further byte can make valid.
func malformed(format string, args ...any) error {
	return &beam.Error{Code: beam.BadData, What: fmt.Sprintf(format, args...)}
}

// whole is err for input that is known to be complete: there, being short is
// being malformed.
func whole(err error) error {
	if err == ErrShort {
		return malformed("a value is longer than the data that should hold it")
	}
	return err
}

// within names the place of an error in a larger value. ErrShort stays what
// it is.
func within(place string, err error) error {
	if err == ErrShort {
		return err
	}
	return &beam.Error{Code: beam.CodeOf(err), What: place, Cause: err}
}

// invalid is the error for a coder or schema proto that cannot be used.
func invalid(where, format string, args ...any) error {
	return &beam.Error{Code: beam.InvalidPipeline, Where: where, What: fmt.Sprintf(format, args...)}
}
