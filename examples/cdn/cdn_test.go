package cdn_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"fresnel/examples/cdn"
)

func TestPipelineMeansWhatTheLogCounts(t *testing.T) {
	t.Parallel()
	python, err := filepath.Abs("../../.venv/bin/python")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath(python); err != nil {
		t.Skip("no Python environment: make venv")
	}
	log := cdn.NewLog(1)
	var stdin bytes.Buffer
	for range 60_000 { // every kind of malformed line, five times
		line := log.AppendLine(nil)
		stdin.Write(binary.BigEndian.AppendUint32(nil, uint32(len(line))))
		stdin.Write(line)
	}
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), python, "testdata/sums.py")
	cmd.Stdin, cmd.Stderr = &stdin, &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	for _, d := range log.Totals().Diff(decode(t, out)) {
		t.Error(d)
	}
	if n := log.Totals().Lines(); n != 60_000-60*5/12 {
		t.Errorf("%d lines count", n)
	}
}

// decode reads rows as testdata/sums.py prints them.
func decode(t *testing.T, b []byte) cdn.Totals {
	t.Helper()
	var raw map[string][3]*json.Number
	if err := json.Unmarshal(b, &raw); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	all := cdn.Totals{}
	for province, v := range raw {
		var s cdn.Statistic
		s.AccessCount, _ = v[0].Int64()
		if v[1] != nil {
			s.TotalDownload.Valid = true
			s.TotalDownload.Int64, _ = v[1].Int64()
		}
		if v[2] != nil {
			s.DownloadSpeed.Valid = true
			s.DownloadSpeed.Float64, _ = v[2].Float64()
		}
		all[province] = s
	}
	return all
}

func TestLogIsTheSameForTheSameSeed(t *testing.T) {
	t.Parallel()
	a, b, other := cdn.NewLog(7), cdn.NewLog(7), cdn.NewLog(8)
	var x, y, z []byte
	for range 5000 {
		x, y, z = a.AppendLine(x), b.AppendLine(y), other.AppendLine(z)
	}
	if !bytes.Equal(x, y) || bytes.Equal(x, z) {
		t.Error("the seed does not decide")
	}
}

func TestTotalsThatFall(t *testing.T) {
	t.Parallel()
	before := cdn.Totals{"a": {AccessCount: 2}, "b": {AccessCount: 1}}
	if f := before.Fallen(cdn.Totals{"a": {AccessCount: 3}, "b": {AccessCount: 1}}); len(f) > 0 {
		t.Error(f)
	}
	if f := before.Fallen(cdn.Totals{"a": {AccessCount: 1}}); len(f) != 2 {
		t.Error(f)
	}
}

func TestArrivalsTakeAsLongAsTheTableDoes(t *testing.T) {
	t.Parallel()
	a, start := cdn.NewArrivals(), time.Unix(0, 0)
	a.Produced(cdn.Totals{"a": {AccessCount: 2}, "b": {AccessCount: 1}}, start)
	a.Produced(cdn.Totals{"a": {AccessCount: 3}, "b": {AccessCount: 1}}, start.Add(time.Second))
	if took := a.Seen(cdn.Totals{"a": {AccessCount: 1}}, start); len(took) != 0 {
		t.Error(took)
	}
	took := a.Seen(cdn.Totals{"a": {AccessCount: 3}}, start.Add(3*time.Second))
	if !slices.Equal(took, []time.Duration{3 * time.Second, 2 * time.Second}) {
		t.Error(took)
	}
	if took := a.Seen(cdn.Totals{"a": {AccessCount: 3}, "b": {AccessCount: 1}}, start.Add(4*time.Second)); len(took) != 1 {
		t.Error(took)
	}
}

func BenchmarkAppendLine(b *testing.B) {
	log, line := cdn.NewLog(1), []byte(nil)
	for b.Loop() {
		line = log.AppendLine(line[:0])
	}
}
