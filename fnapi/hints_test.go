package fnapi

import (
	"runtime"
	"strings"
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

func hinted(hints ...string) *pipepb.Environment {
	env := &pipepb.Environment{ResourceHints: map[string][]byte{}}
	for i := 0; i < len(hints); i += 2 {
		env.ResourceHints["beam:resources:"+hints[i]+":v1"] = []byte(hints[i+1])
	}
	return env
}

func TestAsManyWorkersAsHaveWhatTheyAreSaidToNeed(t *testing.T) {
	t.Parallel()
	cores := max(2, runtime.GOMAXPROCS(0))
	for _, c := range []struct {
		env  *pipepb.Environment
		want int
		why  string
	}{
		{hinted(), cores, ""},
		{hinted("cpu_count", "1"), cores, ""},
		{hinted("cpu_count", "1000000"), 1, "cpu_count is 1000000"},
		{hinted("cpu_count", "a few", "min_ram_bytes", "-1"), cores, ""},
	} {
		if n, why := fitting(c.env, cores); n != c.want || !strings.Contains(why, c.why) || (why == "") != (c.why == "") {
			t.Errorf("%v: %d, %q", c.env, n, why)
		}
	}
	if all, _, ok := systemMemory(); ok {
		if n, why := fitting(hinted("min_ram_bytes", "1"+strings.Repeat("0", 18)), cores); n != 1 || !strings.Contains(why, "min_ram") {
			t.Errorf("of %d bytes: %d, %q", all, n, why)
		}
	}
}

func TestHintsThatChangeNothingAreNamed(t *testing.T) {
	t.Parallel()
	if text := meaningless(hinted("min_ram_bytes", "1", "cpu_count", "2")); text != "" {
		t.Error(text)
	}
	elsewhere := hinted("min_ram_bytes", "1", "cpu_count", "2")
	elsewhere.Urn = urnExternal
	if text := meaningless(elsewhere); !strings.Contains(text, "cpu_count=2, min_ram_bytes=1.") {
		t.Error(text)
	}
	if text := meaningless(hinted("accelerator", "type:nvidia", "max_active_bundles_per_worker", "1")); !strings.Contains(text, "accelerator=type:nvidia, max_active_bundles_per_worker=1.") {
		t.Error(text)
	}
}
