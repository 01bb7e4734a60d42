package coder

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"fresnel/internal/beam"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

// The Python SDK ships standard_coders.yaml, by which all SDKs test their
// coders: bytes and what they mean. The test reads it where the tree's venv has
// it, through the YAML reader of that venv.
const readYAML = `
import json, sys, yaml
with open(sys.argv[1], encoding="utf-8") as f:
    json.dump(list(yaml.safe_load_all(f)), sys.stdout)
`

type standardCase struct {
	Coder struct {
		URN              string
		Payload          string
		Components       []struct{ URN string }
		NonDeterministic bool `json:"non_deterministic"`
		State            map[string]string
	}
	Nested   *bool
	Examples map[string]any
}

func standardCases(t *testing.T) []standardCase {
	t.Helper()
	venv := filepath.Join("..", "..", ".venv")
	found, _ := filepath.Glob(filepath.Join(venv, "lib", "*", "site-packages",
		"apache_beam", "portability", "api", "standard_coders.yaml"))
	if len(found) == 0 {
		t.Skip("no venv with apache_beam")
	}
	cmd := exec.Command(filepath.Join(venv, "bin", "python"), "-c", readYAML, found[0])
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Skipf("the venv's Python cannot read YAML: %v", err)
	}
	decoder := json.NewDecoder(bytes.NewReader(out))
	decoder.UseNumber()
	var cases []standardCase
	if err := decoder.Decode(&cases); err != nil {
		t.Fatal(err)
	}
	return cases
}

func TestStandardCoders(t *testing.T) {
	t.Parallel()
	for i, test := range standardCases(t) {
		t.Run(fmt.Sprintf("%d %s", i, test.Coder.URN), func(t *testing.T) {
			c := test.coder(t)
			if !c.Known() && !c.doubtful() {
				t.Fatalf("%s is not known", c)
			}
			for _, f := range test.forms() {
				for encoded, want := range test.Examples {
					test.check(t, c, f, latin1(encoded), want)
				}
			}
		})
	}
}

func (c *Coder) doubtful() bool { return c.row != nil && c.row.doubtful }

func (test *standardCase) coder(t *testing.T) *Coder {
	coders := map[string]*pipepb.Coder{"root": {Spec: &pipepb.FunctionSpec{
		Urn: test.Coder.URN, Payload: latin1(test.Coder.Payload)}}}
	for _, comp := range test.Coder.Components {
		coders["root"].ComponentCoderIds = append(coders["root"].ComponentCoderIds, comp.URN)
		coders[comp.URN] = &pipepb.Coder{Spec: &pipepb.FunctionSpec{Urn: comp.URN}}
	}
	c, err := Parse("root", coders)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (test *standardCase) forms() []form {
	switch {
	case test.Nested == nil:
		return []form{nested, outer}
	case *test.Nested:
		return []form{nested}
	}
	return []form{outer}
}

func (test *standardCase) check(t *testing.T, c *Coder, f form, encoded []byte, want any) {
	t.Helper()
	d := decoder{slots: minSlots}
	got, n, err := d.decode(c, encoded, f)
	if err != nil || n != len(encoded) {
		t.Errorf("decode of %x: %d of %d bytes, %v", encoded, n, len(encoded), err)
		return
	}
	if err := same(got, want, test.Coder.State); err != nil {
		t.Errorf("decode of %x: %v", encoded, err)
	}
	if f == nested {
		checkEnds(t, c, encoded)
	}
	if test.Coder.NonDeterministic {
		return
	}
	if back, err := c.append(nil, got, f); err != nil || !bytes.Equal(back, encoded) {
		t.Errorf("%x encodes back as %x, %v", encoded, back, err)
	}
}

// checkEnds proves that Skip finds the end of a value, with data behind it and
// without, and that every true prefix is short, neither malformed nor whole.
func checkEnds(t *testing.T, c *Coder, encoded []byte) {
	t.Helper()
	behind := append(bytes.Clone(encoded), 0xff, 0xff)
	for _, b := range [][]byte{encoded, behind} {
		if n, err := c.Skip(b); n != len(encoded) || err != nil {
			t.Errorf("skip of %x by %s: %d, %v", b, c, n, err)
		}
	}
	for i := range encoded {
		if n, err := c.Skip(encoded[:i]); n != 0 || err != ErrShort {
			t.Errorf("skip of %x, short of %x, by %s: %d, %v", encoded[:i], encoded, c, n, err)
		}
		if _, n, err := c.Decode(encoded[:i]); n != 0 || err != ErrShort {
			t.Errorf("decode of %x, short of %x, by %s: %d, %v", encoded[:i], encoded, c, n, err)
		}
	}
}

func latin1(s string) []byte {
	var b []byte
	for _, r := range s {
		b = append(b, byte(r))
	}
	return b
}

// same compares a decoded value with the file's notation of it.
func same(got, want any, state map[string]string) error {
	switch got := got.(type) {
	case []byte:
		return equal(string(got), want)
	case float64:
		return sameFloat(got, want, 64)
	case float32:
		return sameFloat(float64(got), want, 32)
	case KV:
		return sameFields(map[string]any{"key": got.Key, "value": got.Value}, want)
	case ShardedKey:
		return sameFields(map[string]any{"shardId": got.ShardID, "key": got.Key}, want)
	case Row:
		fields := make(map[string]any)
		for i, f := range got.Schema.Fields {
			fields[f.Name] = got.Values[i]
		}
		return sameFields(fields, want)
	case Map:
		fields := make(map[string]any)
		for _, kv := range got {
			fields[kv.Key.(string)] = kv.Value
		}
		return sameFields(fields, want)
	case []any:
		return sameList(got, want)
	case StateBacked:
		list := got.Head
		for b := latin1(state[string(got.Token)]); len(b) > 0; {
			v, n, err := VarInt.Decode(b)
			if err != nil {
				return err
			}
			list, b = append(list, v), b[n:]
		}
		return sameList(list, want)
	case beam.Window:
		if want == "" || want == "global" {
			return equal(got, beam.GlobalWindow)
		}
		return sameFields(map[string]any{"end": int64(got.End), "span": int64(got.End - got.Start)}, want)
	case CustomWindow:
		return sameFields(map[string]any{"window": got.Window}, want)
	case WindowedValue:
		return sameFields(map[string]any{"value": got.Value, "timestamp": int64(got.Timestamp),
			"windows": got.Windows, "pane": got.Pane}, want)
	case Timer:
		return sameTimer(got, want)
	case beam.Pane:
		timing := [...]string{"EARLY", "ON_TIME", "LATE", "UNKNOWN"}[got.Timing]
		return sameFields(map[string]any{"is_first": got.First, "is_last": got.Last, "timing": timing,
			"index": got.Index, "on_time_index": got.NonSpeculative}, want)
	case time.Time:
		return sameTime(got, want)
	case Decimal:
		return equal(got.String(), want)
	case nil, string, bool:
		return equal(got, want)
	}
	return equal(fmt.Sprint(got), fmt.Sprint(want))
}

func equal(got, want any) error {
	if got != want {
		return fmt.Errorf("%v (%T), not %v (%T)", got, got, want, want)
	}
	return nil
}

func sameFloat(got float64, want any, bits int) error {
	f, err := strconv.ParseFloat(want.(string), bits)
	if err == nil && math.Float64bits(f) != math.Float64bits(got) && !(f != f && got != got) {
		err = fmt.Errorf("%v, not %v", got, want)
	}
	return err
}

func sameFields(got map[string]any, want any) error {
	fields, ok := want.(map[string]any)
	if !ok || len(fields) != len(got) {
		return fmt.Errorf("%v, not %v", got, want)
	}
	for name, v := range fields {
		if err := same(got[name], v, nil); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func sameList(got []any, want any) error {
	list, ok := want.([]any)
	if !ok || len(list) != len(got) {
		return fmt.Errorf("%v, not %v", got, want)
	}
	for i := range list {
		if err := same(got[i], list[i], nil); err != nil {
			return fmt.Errorf("%d: %w", i, err)
		}
	}
	return nil
}

func sameTimer(got Timer, want any) error {
	key, _, err := StringUTF8.Decode(got.Key)
	if err != nil {
		return err
	}
	fields := map[string]any{"userKey": key, "dynamicTimerTag": got.Tag, "clearBit": got.Clear,
		"windows": []any{beam.GlobalWindow}}
	if !got.Clear {
		pane, _, err := DecodePane(got.Pane)
		if err != nil {
			return err
		}
		fields["fireTimestamp"], fields["holdTimestamp"] = int64(got.Fire), int64(got.Hold)
		fields["pane"] = pane
	}
	return sameFields(fields, want)
}

// sameTime compares with a representation: seconds and a part of a second, or
// the shifted milliseconds of a millis_instant.
func sameTime(got time.Time, want any) error {
	parts, ok := want.(map[string]any)
	if !ok {
		return equal(strconv.FormatInt(got.UnixMilli()^math.MinInt64, 10), fmt.Sprint(want))
	}
	if err := equal(strconv.FormatInt(got.Unix(), 10), fmt.Sprint(parts["seconds"])); err != nil {
		return err
	}
	for name, part := range parts {
		if name != "seconds" && !isPart(int64(got.Nanosecond()), part.(json.Number)) {
			return fmt.Errorf("%d ns, not %v %s", got.Nanosecond(), part, name)
		}
	}
	return nil
}

// isPart compares with milliseconds, microseconds or nanoseconds: the file
// does not say which.
func isPart(nanos int64, part json.Number) bool {
	i, err := part.Int64()
	return err == nil && (i == nanos || i*1e3 == nanos || i*1e6 == nanos)
}
