package cdn

import (
	"database/sql"
	"fmt"
	"maps"
	"slices"
)

// Totals are the statistics by province: what the table must be, or what it is.
type Totals map[string]Statistic

// Statistic is what is known of a province. The sums ignore NULL, and are NULL
// if there was nothing else.
type Statistic struct {
	AccessCount   int64
	TotalDownload sql.NullInt64
	DownloadSpeed sql.NullFloat64

	time sql.NullInt64 // the sum of the request times
}

// add counts a line whose size or time may be NULL.
func (t Totals) add(province string, size, time *int64) {
	s := t[province]
	s.AccessCount++
	addTo(&s.TotalDownload, size)
	addTo(&s.time, time)
	s.DownloadSpeed = sql.NullFloat64{}
	if s.TotalDownload.Valid && s.time.Int64 != 0 {
		s.DownloadSpeed = sql.NullFloat64{Float64: float64(s.TotalDownload.Int64) / float64(s.time.Int64), Valid: true}
	}
	t[province] = s
}

func addTo(sum *sql.NullInt64, n *int64) {
	if n != nil {
		sum.Int64 += *n
		sum.Valid = true
	}
}

// Lines is the sum of all counts.
func (t Totals) Lines() int64 {
	var n int64
	for _, s := range t {
		n += s.AccessCount
	}
	return n
}

// Diff says where got differs from t, number by number; nothing if it does not.
func (t Totals) Diff(got Totals) []string {
	var all []string
	for _, p := range slices.Sorted(maps.Keys(t)) {
		want, have := t[p], got[p]
		want.time = sql.NullInt64{}
		if want != have {
			all = append(all, fmt.Sprintf("%s: want %v, got %v", p, want, have))
		}
	}
	for _, p := range slices.Sorted(maps.Keys(got)) {
		if _, ok := t[p]; !ok {
			all = append(all, fmt.Sprintf("%s: want no row, got %v", p, got[p]))
		}
	}
	return all
}

// Fallen says which numbers of later are less than those of t. Speeds may fall.
func (t Totals) Fallen(later Totals) []string {
	var all []string
	for _, p := range slices.Sorted(maps.Keys(t)) {
		before, after := t[p], later[p]
		if after.AccessCount < before.AccessCount || after.TotalDownload.Int64 < before.TotalDownload.Int64 {
			all = append(all, fmt.Sprintf("%s: %v after %v", p, after, before))
		}
	}
	return all
}

// String shows a row as the table would.
func (s Statistic) String() string {
	return fmt.Sprintf("(%d, %s, %s)", s.AccessCount, null(s.TotalDownload.Valid, s.TotalDownload.Int64), null(s.DownloadSpeed.Valid, s.DownloadSpeed.Float64))
}

func null(valid bool, v any) string {
	if !valid {
		return "NULL"
	}
	return fmt.Sprint(v)
}
