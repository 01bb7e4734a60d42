package jobservice

import (
	"context"
	"log/slog"
	"regexp"
)

// Beam's Go client logs what a job tells it with the logger of its process, with
// the message's time and id before it. Where its harness is in that process
// (LOOPBACK), this logger sends to us: were it told to the client again, it would
// come again, and for ever, each time a bit longer.
var echo = regexp.MustCompile(`^\(time=[-0-9T:.]+Z\)(\(id=[0-9]*\))?`)

// takeEcho tells whether a message comes back from the client. It goes to the
// server's log then: the client has shown it nowhere.
func (j *job) takeEcho(level Level, text string) bool {
	before := echo.FindString(text)
	if before == "" {
		return false
	}
	j.log.Log(context.Background(), slogLevels[min(level, Error)], text[len(before):])
	return true
}

var slogLevels = [...]slog.Level{
	Debug: slog.LevelDebug, Detailed: slog.LevelDebug, Basic: slog.LevelInfo, Warning: slog.LevelWarn, Error: slog.LevelError,
}
