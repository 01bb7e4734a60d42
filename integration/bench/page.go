package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// The page is one file: its plots are drawn in place.
//
//	workload   ▇▇▇▇▇▇ 1.20      one bar for each engine
//	           ▇▇▇▇▇▇▇▇▇▇ 2.31

const pageStyle = `body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#222;background:#fff}
svg{width:100%;height:auto}text{font:12px system-ui,sans-serif;fill:#222}
table{border-collapse:collapse;font-size:13px}td,th{padding:.2em .7em;border-bottom:1px solid #ddd;text-align:right}
td:first-child,th:first-child{text-align:left}div.wide{overflow-x:auto}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}text{fill:#ddd}td,th{border-color:#444}}`

// colours of the engines tell apart for all eyes (Okabe and Ito).
var colours = map[string]string{fresnel: "#0072b2", prism: "#e69f00", fnapi: "#009e73", limit: "#999999", durable: "#56b4e9"}

// html is the report as a page with plots.
func (r *report) html() string {
	var b strings.Builder
	fmt.Fprintf(&b, "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Fresnel: benchmarks</title>\n<style>%s</style>\n", pageStyle)
	for part := range strings.SplitSeq(r.heading(), "\n\n") {
		if title, ok := strings.CutPrefix(part, "# "); ok {
			fmt.Fprintf(&b, "<h1>%s</h1>\n", html.EscapeString(title))
			continue
		}
		fmt.Fprintf(&b, "<p>%s</p>\n", html.EscapeString(part))
	}
	b.WriteString(r.legend())
	for _, m := range []string{wall, runnerCPU, clientCPU, peak} {
		fmt.Fprintf(&b, "<h2>%s</h2>\n%s", html.EscapeString(capital(m)), r.plot(m))
	}
	for _, t := range []struct {
		title string
		table table
	}{{"What each took", r.taken()}, {"Fresnel's to its peers'", r.ratios()}, {"Measures of single workloads", r.ownMeasures()}} {
		if len(t.table) > 1 {
			fmt.Fprintf(&b, "<h2>%s</h2>\n%s", html.EscapeString(t.title), t.table.html())
		}
	}
	return b.String()
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

func (r *report) legend() string {
	var b strings.Builder
	b.WriteString("<p>")
	for _, e := range r.engines {
		fmt.Fprintf(&b, `<span style="color:%s">&#9632;</span> %s &nbsp; `, colours[e], html.EscapeString(e))
	}
	b.WriteString("A bar twice as long is ten times as much.</p>\n")
	return b.String()
}

const (
	barHeight  = 12
	barsFrom   = 170
	longestBar = 560
	plotWidth  = 800
)

// bar is one engine's value of a workload.
type bar struct {
	workload, engine string // workload is empty below the first
	value            float64
}

// bars are all that have a value above zero.
func (r *report) bars(measure string) (all []bar) {
	for _, res := range r.results {
		name := res.workload
		for _, e := range r.engines {
			if v, ok := res.value(e, measure); ok && v > 0 {
				all = append(all, bar{name, e, v})
				name = ""
			}
		}
	}
	return all
}

// plot draws a measure of all workloads.
func (r *report) plot(measure string) string {
	bars := r.bars(measure)
	if len(bars) == 0 {
		return "<p>nothing was measured</p>\n"
	}
	long := lengths(bars)
	var b strings.Builder
	y := 0
	for i, v := range bars {
		if v.workload != "" {
			y += barHeight / 2
			fmt.Fprintf(&b, `<text x="0" y="%d">%s</text>`, y+barHeight-2, html.EscapeString(v.workload))
		}
		fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"><title>%s: %s</title></rect><text x="%.1f" y="%d">%s</text>`+"\n",
			barsFrom, y, long[i], barHeight-1, colours[v.engine], html.EscapeString(v.engine), number(v.value),
			barsFrom+long[i]+5, y+barHeight-2, number(v.value))
		y += barHeight
	}
	return fmt.Sprintf("<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\">\n%s</svg>\n", plotWidth, y, html.EscapeString(measure), b.String())
}

// lengths are those of the bars: ten times as much is twice as long, since
// workloads differ by more than can be seen side by side.
func lengths(bars []bar) []float64 {
	most := 0.0
	for _, v := range bars {
		most = max(most, v.value)
	}
	all := make([]float64, len(bars))
	for i, v := range bars {
		all[i] = longestBar * math.Pow(v.value/most, math.Log10(2))
	}
	return all
}

// html is the table in the language of the page.
func (t table) html() string {
	var b strings.Builder
	b.WriteString("<div class=\"wide\"><table>\n")
	for n, row := range t {
		tag := "td"
		if n == 0 {
			tag = "th"
		}
		b.WriteString("<tr>")
		for _, c := range row {
			fmt.Fprintf(&b, "<%s>%s</%s>", tag, html.EscapeString(c), tag)
		}
		b.WriteString("</tr>\n")
	}
	b.WriteString("</table></div>\n")
	return b.String()
}
