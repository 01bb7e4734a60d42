package jobservice

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

// secretName matches names of options whose values nobody else is to see.
var secretName = regexp.MustCompile(`(?i)passw|secret|token|credential|api_?key|access_?key|private_?key|jaas`)

const (
	// Concealed stands for what is not shown.
	Concealed = "***"
	// leastSecret is the length of a secret that is looked for in other texts: what
	// is shorter stands in too many by chance.
	leastSecret = 4
)

// Secrets are the values of options that are named as passwords and the like are,
// as they may stand in a text: plain, or quoted by Python or in JSON. None is
// shorter than four bytes.
func (o Options) Secrets() []string {
	var all []string
	for name, v := range o.values {
		if secretName.MatchString(name) {
			all = appendSecrets(all, v)
		}
	}
	slices.SortFunc(all, func(a, b string) int { // one that contains another comes first
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
	return slices.Compact(all)
}

func appendSecrets(all []string, v *structpb.Value) []string {
	for _, item := range v.GetListValue().GetValues() {
		all = appendSecrets(all, item)
	}
	for _, field := range v.GetStructValue().GetFields() {
		all = appendSecrets(all, field)
	}
	text := v.GetStringValue()
	if len(text) < leastSecret {
		return all
	}
	quoted, _ := json.Marshal(text) // a string
	return append(all, text, strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(text), strings.ReplaceAll(text, `\`, `\\`), string(quoted[1:len(quoted)-1]))
}

// Conceal returns what makes a text one without the secrets of the options; nil if
// there are none.
func (o Options) Conceal() *strings.Replacer {
	var pairs []string
	for _, s := range o.Secrets() {
		pairs = append(pairs, s, Concealed)
	}
	if pairs == nil {
		return nil
	}
	return strings.NewReplacer(pairs...)
}

// concealed are the options as others may see them.
func concealed(options *structpb.Struct) *structpb.Struct {
	shown := options
	for key := range options.GetFields() {
		if name, _ := optionName(key); secretName.MatchString(name) {
			if shown == options {
				shown = proto.CloneOf(options)
			}
			shown.Fields[key] = structpb.NewStringValue(Concealed)
		}
	}
	return shown
}
