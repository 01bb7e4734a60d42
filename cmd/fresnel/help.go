package main

import (
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
)

// printFlags lists those flags that are not for other command lines' sake: first
// the named ones, then the others below a title.
func printFlags(fs *flag.FlagSet, title string, first ...string) {
	for _, name := range first {
		printFlag(fs.Output(), fs.Lookup(name))
	}
	fmt.Fprintln(fs.Output(), title)
	fs.VisitAll(func(f *flag.Flag) {
		if !slices.Contains(first, f.Name) && !hidden(f) {
			printFlag(fs.Output(), f)
		}
	})
}

// hidden tells that a flag is there for those who know another command line.
func hidden(f *flag.Flag) bool {
	return f.Usage == sameFlag || strings.HasPrefix(f.Usage, "accepted for")
}

// sameFlag is the description of a flag's other spelling.
const sameFlag = "the same"

func printFlag(out io.Writer, f *flag.Flag) {
	kind, usage := flag.UnquoteUsage(f)
	if kind != "" {
		kind = "=" + strings.ToUpper(kind)
	}
	if !slices.Contains([]string{"", "0", "0s", "false"}, f.DefValue) {
		usage += " (default: " + f.DefValue + ")"
	}
	fmt.Fprintf(out, "  --%s%s\n        %s\n", f.Name, kind, strings.ReplaceAll(usage, "\n", "\n        "))
}

// setDefault gives a flag another default.
func setDefault(fs *flag.FlagSet, name, value string) {
	f := fs.Lookup(name)
	if err := f.Value.Set(value); err == nil {
		f.DefValue = f.Value.String()
	}
}
