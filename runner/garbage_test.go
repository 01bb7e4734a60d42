package runner

import (
	"fmt"
	"testing"

	"fresnel/fnapi"
	"fresnel/fnapi/fnapitest"
	"fresnel/internal/beam"
	"fresnel/internal/coder"
)

func stateKeyOf(key string) fnapi.StateKey {
	return fnapi.StateKey{Kind: fnapi.StateBag, Transform: "work", Name: "bag", Key: str(key)}
}

// TestAHarnessThatSendsGarbageFailsTheJob (I7), with an error that says what it
// was and where; the server goes on.
func TestAHarnessThatSendsGarbageFailsTheJob(t *testing.T) {
	data := at(0, "k", "v")
	sends := func(f func(c *call) error) do {
		return func(c *call) error {
			c.ReadAll()
			return f(c)
		}
	}
	for _, c := range []struct {
		name string
		work do
		want string
	}{
		{"an unknown sink", sends(func(c *call) error { return c.Emit("nowhere", data) }), `output of transform "nowhere"`},
		{"half an element", sends(func(c *call) error { return c.out(data[:len(data)-1]) }), "does not decode"},
		{"no element", sends(func(c *call) error { return c.out(append([]byte("12345678\xff\xff\xff\xff"), data...)) }), "does not decode"},
		{"half a timer", sends(func(c *call) error {
			return c.SetTimers(fnapitest.Stream{Transform: "work", Family: "event"}, []byte{1, 'k', 0})
		}), "does not decode"},
		{"no timer", sends(func(c *call) error {
			return c.SetTimers(fnapitest.Stream{Transform: "work", Family: "event"}, []byte{1, 'k', 0, 0, 0, 0, 1, 7})
		}), "does not decode"},
		{"a timer of another's key", sends(func(c *call) error {
			for i := range 100 {
				if err := c.set("event", coder.Timer{Key: str(fmt.Sprint(i))}); err != nil {
					return err
				}
			}
			return nil
		}), "of a key that is not in it"},
		{"an unknown family", sends(func(c *call) error {
			return c.SetTimers(fnapitest.Stream{Transform: "work", Family: "none"}, []byte{1})
		}), `timer family "none"`},
		{"state of another's key", sends(func(c *call) error {
			for i := range 100 {
				if _, err := c.bag(str(fmt.Sprint(i)), nil); err != nil {
					return err
				}
			}
			return nil
		}), "of a key that is not in it"},
		{"a token of nobody", sends(func(c *call) error {
			_, _, err := c.Get(bagKey(str("k"), nil), []byte("xxxxxxxxxxx"))
			return err
		}), "continuation token"},
		{"a side input that is none", sends(func(c *call) error {
			_, err := c.getAll(iterableKey("work", nil))
			return err
		}), "which its stage does not have"},
		{"half a residual", sends(func(c *call) error { c.resume(data[:5], 0, 0); return nil }), "a residual is not one element"},
		{"residuals of two", sends(func(c *call) error { c.resume(append(data, data...), 0, 0); return nil }), "a residual is not one element"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			r.do["make"] = create(data)
			r.do["work"] = c.work
			r.sink("out")
			p := newPipe().impulse("impulse", "i").pardo("make", nil, "in=i", "out=a:").
				pardo("work", stateful("timer"), "in=a", "out=b:").write("write", "out", "b")
			r.start(p).wantError(beam.BadData, c.want)
		})
	}
}
