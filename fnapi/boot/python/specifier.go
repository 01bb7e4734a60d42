package python

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Fits tells whether the interpreter is one that version specifiers admit, such
// as those of requires-python. All admit one whose version is not known.
func (i Interpreter) Fits(specifiers string) bool {
	release := numbers(cmp.Or(i.Release, i.Version))
	if release == nil {
		return true
	}
	for clause := range strings.SplitSeq(specifiers, ",") {
		if !admits(strings.TrimSpace(clause), release) {
			return false
		}
	}
	return true
}

// clause is a version specifier (PyPA's specification of them, formerly PEP 440).
// What follows the numbers, as in 3.13.0rc1, makes no difference to a release.
var clause = regexp.MustCompile(`^(~=|={2,3}|!=|<=|>=|<|>)\s*v?(\d+(?:\.\d+)*)(\.\*)?`)

// admits reads one specifier; what is none admits all: pip tells what is wrong.
func admits(specifier string, release []int) bool {
	m := clause.FindStringSubmatch(specifier)
	if m == nil {
		return true
	}
	named := numbers(m[2])
	same := compare(release, named) == 0
	if m[3] != "" {
		same = begins(release, named)
	}
	switch m[1] {
	case "~=":
		return compare(release, named) >= 0 && begins(release, named[:len(named)-1])
	case "!=":
		return !same
	case "<=":
		return compare(release, named) <= 0
	case ">=":
		return compare(release, named) >= 0
	case "<":
		return compare(release, named) < 0
	case ">":
		return compare(release, named) > 0
	}
	return same
}

// numbers reads 3.11.4; nil for what is no version.
func numbers(version string) []int {
	var all []int
	for part := range strings.SplitSeq(version, ".") {
		n, err := strconv.Atoi(part)
		if err != nil {
			return nil
		}
		all = append(all, n)
	}
	return all
}

// compare compares versions, of which those that are missing numbers have zeros.
func compare(a, b []int) int {
	for len(a) < len(b) {
		a = append(slices.Clip(a), 0)
	}
	for len(b) < len(a) {
		b = append(slices.Clip(b), 0)
	}
	return slices.Compare(a, b)
}

func begins(version, with []int) bool {
	return len(version) >= len(with) && slices.Equal(version[:len(with)], with)
}
