package translate

import "testing"

func BenchmarkTranslate(b *testing.B) {
	for _, name := range []string{"groupbykey", "cdn", "assertthat", "sideinputs"} {
		p := captured(b, name)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Translate(p, Options{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
