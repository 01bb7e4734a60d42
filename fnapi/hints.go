package fnapi

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"

	"fresnel/internal/cores"
)

// The resource hints of environments (beam_runner_api.proto,
// StandardResourceHints), written as digits.
const (
	urnMinRAM   = "beam:resources:min_ram_bytes:v1" // of each worker
	urnCPUCount = "beam:resources:cpu_count:v1"     // that each worker can use
)

// hint is the number in a resource hint of an environment, 0 without one.
func hint(env *pipepb.Environment, urn string) int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(string(env.GetResourceHints()[urn])), 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// fitting is how many of n workers have on this machine what the hints of their
// environment ask for each of them, at least one; and why, where it is fewer.
func fitting(env *pipepb.Environment, n int) (int, string) {
	fits, why := n, ""
	fewer := func(room int64, text string) {
		if room = max(1, room); room < int64(fits) {
			fits, why = int(room), text
		}
	}
	if cpus := hint(env, urnCPUCount); cpus > 0 {
		fewer(int64(cores.All())/cpus, fmt.Sprintf("the resource hint cpu_count is %d, and there are %d", cpus, cores.All()))
	}
	if ram := hint(env, urnMinRAM); ram > 0 {
		if all, _, ok := systemMemory(); ok {
			fewer(all/ram, fmt.Sprintf("the resource hint min_ram is %s, and there are %s", sizeText(ram), sizeText(all)))
		}
	}
	return fits, why
}

// meaningless names the resource hints that nothing is done about; empty if there
// are none. Of workers that others start (EXTERNAL) these are all.
func meaningless(env *pipepb.Environment) string {
	var names []string
	for _, urn := range slices.Sorted(maps.Keys(env.GetResourceHints())) {
		if urn != urnMinRAM && urn != urnCPUCount || env.GetUrn() == urnExternal {
			name := strings.TrimSuffix(strings.TrimPrefix(urn, "beam:resources:"), ":v1")
			names = append(names, fmt.Sprintf("%s=%s", name, env.GetResourceHints()[urn]))
		}
	}
	if len(names) == 0 {
		return ""
	}
	return fmt.Sprintf("Resource hints change nothing here: %s. Workers run on the machine where they are started, and have what it has.", strings.Join(names, ", "))
}
