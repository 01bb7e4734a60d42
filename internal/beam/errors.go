package beam

import (
	"errors"
	"strings"
)

// Code classifies an error by what the reader of it can do.
type Code uint8

// The codes.
const (
	// Internal is a fault of Fresnel itself.
	Internal Code = iota
	// InvalidPipeline: the client's pipeline or options are malformed.
	InvalidPipeline
	// Unsupported: a construct that Fresnel does not run, refused at Prepare.
	Unsupported
	// UserCode: a function of the user raised.
	UserCode
	// BadData: bytes that do not decode as their coder says.
	BadData
	// Unavailable: a harness, broker or database cannot be reached; retried.
	Unavailable
	// Rejected: a broker or database refused for good (table, credentials, row).
	Rejected
	// Cancelled: the user ended the job.
	Cancelled
	// ResourceExhausted: a limit of memory or disk was reached.
	ResourceExhausted
)

var codeNames = [...]string{"internal error", "invalid pipeline", "unsupported", "user code failed",
	"bad data", "unavailable", "rejected", "cancelled", "resource exhausted"}

// String names the code as it is printed to users.
func (c Code) String() string {
	if int(c) < len(codeNames) {
		return codeNames[c]
	}
	return "unknown error"
}

// Error is the one error type that reaches users: what happened, where, and
// what to do about it.
type Error struct {
	Code Code
	// Where is the user's full transform name, or the option or endpoint.
	Where string
	// What happened, in one sentence without the transform's name.
	What string
	// Cure tells the reader what to do; empty where nobody knows.
	Cure string
	// Cause is the error below, if any.
	Cause error
}

// Error puts the parts on one line: code, where, what, cause, cure.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Code.String())
	if e.Where != "" {
		b.WriteString(" in " + e.Where)
	}
	if e.What != "" {
		b.WriteString(": " + e.What)
	}
	if e.Cause != nil {
		b.WriteString(": " + e.Cause.Error())
	}
	if e.Cure != "" {
		b.WriteString(" (" + e.Cure + ")")
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// CodeOf returns the code of the outermost *Error in err's chain, Internal if
// there is none.
func CodeOf(err error) Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return Internal
}
