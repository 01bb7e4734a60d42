package jobservice

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"fresnel/internal/beam"
)

func TestStatusCodes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		want codes.Code
	}{
		{&beam.Error{Code: beam.InvalidPipeline}, codes.InvalidArgument},
		{&beam.Error{Code: beam.Unsupported}, codes.Unimplemented},
		{fmt.Errorf("around: %w", &beam.Error{Code: beam.Unavailable}), codes.Unavailable},
		{errors.Join(nil, &beam.Error{Code: beam.Rejected}), codes.FailedPrecondition},
		{status.Error(codes.NotFound, "x"), codes.NotFound},
		{fmt.Errorf("around: %w", status.Error(codes.Canceled, "x")), codes.Canceled},
		{context.DeadlineExceeded, codes.Internal},
		{errors.New("x"), codes.Internal},
	} {
		wantCode(t, c.err.Error(), statusOf(c.err), c.want, c.err.Error())
	}
}

// More than 8 KB of headers are refused by clients.
func TestAStatusFitsInAHeader(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"short", strings.Repeat("x", 20_000), strings.Repeat("ä\n%", 5_000), "\xff" + strings.Repeat("x", 6000)} {
		got := status.Convert(statusOf(errors.New(text))).Message()
		if size := len(strings.ReplaceAll(url.PathEscape(got), "%20", " ")); size > maxStatusBytes*11/10 || !utf8.ValidString(got) {
			t.Errorf("%d bytes in the header", size)
		}
		if len(text) < maxStatusBytes {
			wantEqual(t, "text", got, strings.ToValidUTF8(text, "\uFFFD"))
		} else if !strings.Contains(got, "whole text is in the server's log") {
			t.Errorf("no note: %q", got[len(got)-100:])
		}
	}
}
