package main

import (
	"fmt"
	"math"
	"strings"
	"time"

	"fresnel/jobservice"
)

// progress is how far a job is at a moment, for people.
type progress struct {
	at     time.Time
	stages []jobservice.StageProgress
	// records are what the stage has taken in that has taken in most; rate is how
	// many a second lately, negative if not known yet.
	records int64
	rate    float64
	// share is the part of the work that is done, of a job that ends by itself; NaN
	// in others.
	share float64
	// lag is how far the least watermark is behind the clock; negative if there is
	// none.
	lag time.Duration
}

func newProgress(stages []jobservice.StageProgress, at time.Time) progress {
	p := progress{at: at, stages: stages, rate: -1, lag: -1}
	done := 0.0
	for _, s := range stages {
		p.records = max(p.records, s.Elements)
		done += s.Share()
		if lag, ok := p.behind(s); ok {
			p.lag = max(p.lag, lag)
		}
	}
	p.share = math.NaN()
	if len(stages) > 0 {
		p.share = done / float64(len(stages))
	}
	return p
}

// behind is how far a stage's watermark is behind the clock, that of one ahead is
// not; false if there is none that follows a clock. That of a bounded job may stand
// at the end of the global window.
func (p progress) behind(s jobservice.StageProgress) (time.Duration, bool) {
	if s.Watermark == nil || time.UnixMilli(*s.Watermark).After(p.at.AddDate(1000, 0, 0)) {
		return 0, false
	}
	return max(0, p.at.Sub(time.UnixMilli(*s.Watermark))), true
}

// after gives p the rate since an earlier moment.
func (p progress) after(before progress) progress {
	if d := p.at.Sub(before.at).Seconds(); d > 0 && before.stages != nil {
		p.rate = max(0, float64(p.records-before.records)/d)
	}
	return p
}

// bounded tells that the job ends by itself: no stage's watermark follows a
// clock.
func (p progress) bounded() bool { return p.lag < 0 }

const barWidth = 24

// line is the whole job in a line.
func (p progress) line() string {
	parts := []string{fmt.Sprintf("%s records", grouped(p.records))}
	if p.rate >= 0 {
		parts = append(parts, fmt.Sprintf("%s/s", grouped(int64(p.rate))))
	}
	if p.lag >= 0 {
		parts = append(parts, "watermark "+lagText(p.lag)+" behind")
	}
	text := strings.Join(parts, ", ")
	if p.bounded() && !math.IsNaN(p.share) {
		full := int(p.share * barWidth)
		text = fmt.Sprintf("[%s%s] %3.0f %%  %s", strings.Repeat("#", full), strings.Repeat(".", barWidth-full), 100*p.share, text)
	}
	return text
}

// table has a line for each stage, of at most width characters.
func (p progress) table(width int) []string {
	name := max(20, width-52)
	lines := make([]string, 0, len(p.stages)+1)
	lines = append(lines, fmt.Sprintf("%-*s %12s %10s %8s  %s", name, "stage", "records", "waiting", "bundles", "state"))
	for _, s := range p.stages {
		lines = append(lines, fmt.Sprintf("%-*s %12s %10s %8d  %s", name, short(s.Name, name), grouped(s.Elements), grouped(s.Pending), s.Running, p.state(s)))
	}
	return lines
}

func (p progress) state(s jobservice.StageProgress) string {
	text := ""
	lag, follows := p.behind(s)
	switch {
	case s.Done:
		text = "done"
	case follows:
		text = lagText(lag) + " behind"
	case s.Running > 0:
		text = "works"
	case s.Reads:
		text = "reads"
	case s.Elements > 0 || s.Pending > 0:
		text = "waits"
	}
	if s.Failed > 0 {
		text += fmt.Sprintf(", %d failures", s.Failed)
	}
	return text
}

// lagText writes a time that something is behind: exact where it is short.
func lagText(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%.1f s", max(0, d.Seconds()))
	}
	return ago(d)
}

// grouped writes a number with its thousands apart.
func grouped(n int64) string {
	digits := fmt.Sprint(n)
	for at := len(digits) - 3; at > 0; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	return digits
}

// lagSeconds is the lag for machines: nothing where there is none.
func (p progress) lagSeconds() any {
	if p.lag < 0 {
		return nil
	}
	return p.lag.Seconds()
}
