package report

import (
	"fmt"
	"html"
	"math"
	"strings"

	"sluice/bench/compare"
	"sluice/bench/load"
	"sluice/bench/measure"
)

// The drawing's size and margins in SVG units.
const (
	width, height              = 560.0, 300.0
	left, right, top, bottom   = 64.0, 16.0, 12.0, 40.0
	barHeight, barGap, barLeft = 24.0, 10.0, 120.0
)

// chart wraps a drawing with its title and unit.
func chart(title, unit string, h float64, body string) string {
	return fmt.Sprintf(`<figure><figcaption>%s <small>%s</small></figcaption><svg viewBox="0 0 %g %g" role="img" aria-label="%s">%s</svg></figure>`,
		html.EscapeString(title), html.EscapeString(unit), width, h, html.EscapeString(title), body)
}

// bars draws one bar a column, from zero, with the figure beside it.
func bars(title, unit string, cols []column, key string) string {
	var most float64
	n := 0
	for _, c := range cols {
		if v, ok := c.value(key); ok {
			most = max(most, v)
			n++
		}
	}
	if n == 0 || most <= 0 {
		return ""
	}
	var b strings.Builder
	y, room := 4.0, width-barLeft-90
	for _, c := range cols {
		v, ok := c.value(key)
		text, w := "not measured", 0.0
		if ok {
			text, w = compare.Number(v), max(room*v/most, 1.5)
		}
		fmt.Fprintf(&b, `<text class="name" x="%g" y="%g" text-anchor="end">%s</text>`, barLeft-8, y+17, html.EscapeString(short(c.Name)))
		fmt.Fprintf(&b, `<rect class="fill %s" x="%g" y="%g" width="%.1f" height="%g" rx="3"/>`, c.Class, barLeft, y, w, barHeight)
		fmt.Fprintf(&b, `<text class="value" x="%.1f" y="%g">%s</text>`, barLeft+w+8, y+17, html.EscapeString(text))
		y += barHeight + barGap
	}
	return chart(title, unit, y, b.String())
}

func short(s string) string {
	if r := []rune(s); len(r) > 16 {
		return string(r[:15]) + "…"
	}
	return s
}

// axis maps values to one direction of the drawing.
type axis struct {
	from, to float64
	log      bool
	a, b     float64 // where from and to are drawn
}

func (x axis) at(v float64) float64 {
	from, to := x.from, x.to
	if x.log {
		v, from, to = math.Log10(max(v, x.from)), math.Log10(x.from), math.Log10(x.to)
	}
	return x.a + (x.b-x.a)*(v-from)/(to-from)
}

// ticks are round values inside the axis.
func (x axis) ticks() []float64 {
	var out []float64
	if x.log {
		for v := math.Pow(10, math.Floor(math.Log10(x.from))); v <= x.to*1.0001; v *= 10 {
			if v >= x.from*0.9999 {
				out = append(out, v)
			}
		}
		return out
	}
	step := math.Pow(10, math.Floor(math.Log10((x.to-x.from)/4)))
	if !(step > 1e-12) || math.IsInf(step, 0) {
		return nil // a file of foreign making; without ticks it still draws
	}
	for _, m := range []float64{5, 2} {
		if (x.to-x.from)/(step*m) >= 3 {
			step *= m
			break
		}
	}
	for v := math.Ceil(x.from/step) * step; v <= x.to+step/1000; v += step {
		out = append(out, v)
	}
	return out
}

type point struct {
	x, y float64
	text string // shown on hovering
}

type line struct {
	class, name string
	pts         []point
}

// lines draws them over labelled axes. xLabels, if set, are the ticks of x.
func lines(title, unit string, x, y axis, xLabels map[float64]string, all []line) string {
	var b strings.Builder
	for _, t := range y.ticks() {
		fmt.Fprintf(&b, `<line class="grid" x1="%g" x2="%g" y1="%.1f" y2="%.1f"/><text class="tick" x="%g" y="%.1f" text-anchor="end">%s</text>`,
			left, width-right, y.at(t), y.at(t), left-8, y.at(t)+4, tick(t))
	}
	if xLabels == nil {
		xLabels = map[float64]string{}
		for _, t := range x.ticks() {
			xLabels[t] = tick(t) + " s"
		}
	}
	for t, label := range ordered(xLabels) {
		fmt.Fprintf(&b, `<line class="grid" x1="%.1f" x2="%.1f" y1="%g" y2="%g"/><text class="tick" x="%.1f" y="%g" text-anchor="middle">%s</text>`,
			x.at(t), x.at(t), top, height-bottom, x.at(t), height-bottom+18, html.EscapeString(label))
	}
	for _, l := range all {
		var d strings.Builder
		for i, p := range l.pts {
			fmt.Fprintf(&d, "%c%.1f %.1f", "LM"[isNot(i > 0)], x.at(p.x), y.at(p.y))
		}
		fmt.Fprintf(&b, `<path class="line %s" d="%s"/>`, l.class, d.String())
		if len(l.pts) <= 64 {
			for _, p := range l.pts {
				fmt.Fprintf(&b, `<circle class="fill %s" cx="%.1f" cy="%.1f" r="3"><title>%s</title></circle>`, l.class, x.at(p.x), y.at(p.y), html.EscapeString(l.name+": "+p.text))
			}
		}
	}
	return chart(title, unit, height, b.String())
}

// tick prints an axis value: 20000 is 20k.
func tick(v float64) string {
	switch {
	case v >= 1e6:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", v/1e6), ".0") + "M"
	case v >= 1e4:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", v/1e3), ".0") + "k"
	}
	return fmt.Sprintf("%.6g", v)
}

// latencyCurves draws latency over the percentile, both in decades: what a mean hides
// stands on the right.
func latencyCurves(cols []column) string {
	qs := measure.CurveQuantiles()
	place := func(q float64) float64 { return -math.Log10(max(1-q, 1.0/30_000)) }
	least, most := math.Inf(1), 0.0
	var all []line
	for _, c := range cols {
		curve := c.Run.Total.Latency.Curve
		if len(curve) != len(qs) {
			continue
		}
		l := line{class: c.Class, name: c.Name}
		for i, v := range curve {
			v = max(v, 0.001)
			least, most = min(least, v), max(most, v)
			label := fmt.Sprintf("p%g", math.Round(qs[i]*1e6)/1e4)
			if qs[i] == 1 {
				label = "maximum"
			}
			l.pts = append(l.pts, point{place(qs[i]), v, label + " " + measure.Show(v)})
		}
		all = append(all, l)
	}
	if len(all) == 0 || most > 1e12 {
		return ""
	}
	x := axis{from: 0, to: place(1), a: left, b: width - right}
	y := axis{from: math.Pow(10, math.Floor(math.Log10(least))), to: math.Pow(10, math.Ceil(math.Log10(most*1.01))), log: true, a: height - bottom, b: top}
	labels := map[float64]string{0: "0", place(.5): "50 %", place(.9): "90 %", place(.99): "99 %", place(.999): "99.9 %", place(.9999): "99.99 %", place(1): "max"}
	return lines("Latency by percentile", "ms", x, y, labels, all)
}

// series draws a figure over the run's time.
func series(title, unit string, cols []column, get func(load.Point) float64) string {
	var end, most float64
	var all []line
	for _, c := range cols {
		l := line{class: c.Class, name: c.Name}
		for _, p := range c.Run.Series {
			v := get(p)
			end, most = max(end, p.T), max(most, v)
			l.pts = append(l.pts, point{p.T, v, fmt.Sprintf("%s %s at %.0f s", compare.Number(v), unit, p.T)})
		}
		if len(l.pts) > 1 {
			all = append(all, l)
		}
	}
	if len(all) == 0 || most <= 0 || end <= 0 || math.IsInf(most*1.05, 0) {
		return ""
	}
	return lines(title, unit, axis{from: 0, to: end, a: left, b: width - right}, axis{from: 0, to: most * 1.05, a: height - bottom, b: top}, nil, all)
}
