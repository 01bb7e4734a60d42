package jobservice

import (
	"errors"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"fresnel/internal/beam"
)

// maxStatusBytes bounds the text of a gRPC status. It travels in a header,
// and clients refuse headers of more than 8 KB altogether: the Python client
// would then show nothing of the text.
const maxStatusBytes = 6 << 10

// statusOf turns an error into a gRPC status. The Python client prints its
// code and the whole text, lines kept.
func statusOf(err error) error {
	text := strings.ToValidUTF8(err.Error(), "\uFFFD")
	return status.Error(grpcCode(err), cutEncoded(text, maxStatusBytes))
}

// asStatus is statusOf, for what may be a status already.
func asStatus(err error) error {
	if _, ok := status.FromError(err); ok {
		return err
	}
	return statusOf(err)
}

func grpcCode(err error) codes.Code {
	if _, ok := errors.AsType[*beam.Error](err); !ok {
		if s, ok := status.FromError(err); ok {
			return s.Code()
		}
	}
	switch beam.CodeOf(err) {
	case beam.InvalidPipeline, beam.BadData:
		return codes.InvalidArgument
	case beam.Unsupported:
		return codes.Unimplemented
	case beam.UserCode, beam.Rejected:
		return codes.FailedPrecondition
	case beam.Unavailable:
		return codes.Unavailable
	case beam.Cancelled:
		return codes.Canceled
	case beam.ResourceExhausted:
		return codes.ResourceExhausted
	}
	return codes.Internal
}

// cutEncoded shortens text so that it takes at most limit bytes in a header,
// where all that is not printable ASCII takes three bytes for each.
func cutEncoded(text string, limit int) string {
	const note = "\n... [cut: the whole text is in the server's log]"
	room := limit - len(note) - 2 // the line break of the note takes two more
	fits, size := 0, 0
	for i, b := range []byte(text) {
		size++
		if b < ' ' || b > '~' || b == '%' {
			size += 2
		}
		if size <= room {
			fits = i + 1
		}
	}
	if size <= limit {
		return text
	}
	return text[:backToRune(text, fits)] + note
}
