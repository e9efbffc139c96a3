package load

import (
	"fmt"
	"io"
	"text/tabwriter"

	"sluice/bench/measure"
)

// Table writes the result for a person.
func (r *Result) Table(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(w, name+"\t"+format+"\n", args...) }
	row("target", "%s (%s, gateway %s)", r.Name, r.Settings.URL, r.Gateway)
	if r.Settings.Connections > 0 {
		r.loadRows(row)
	}
	if h := r.Hello; h != nil {
		row("hello beside it", "%s  (%d)", h.Latency, h.Latency.N)
		failureRows(row, "  hello failed", h.Failures)
		if h.Skipped > 0 {
			row("  hello skipped", "%d", h.Skipped)
		}
	}
	if i := r.Idle; i != nil {
		row("idle connections", "%d, opened in %s", i.Connections, i.Open)
		if r.Server != nil {
			row("  server RSS", "%.1f MiB -> %.1f MiB, %.2f KiB a connection", mib(i.RSSBefore), mib(i.RSSAfter), i.BytesPerConnection/1024)
		}
		if i.Dropped > 0 {
			row("  dropped", "%d", i.Dropped)
		}
	}
	if s := r.Slow; s != nil {
		row("slow readers", "%d read %d bytes", s.Readers, s.Bytes)
		failureRows(row, "  closed", s.Closes)
	}
	if s := r.Server; s != nil {
		row("server RSS", "start %.1f MiB, end %.1f, max %.1f", mib(s.RSSStart), mib(s.RSSEnd), mib(s.RSSMax))
		if r.Seconds >= 60 { // a slope of seconds says nothing about hours
			row("  growth", "%.1f MiB an hour over the last two thirds", s.GrowthMiBPerHour)
		}
		row("server CPU", "%.2f µs a call (user %.2f s, system %.2f s), %.2f cores", s.CPUPerCallUs, s.UserSeconds, s.SysSeconds, s.Cores)
		row("server handles", "%d threads, descriptors %d -> %d", s.ThreadsEnd, s.FDsStart, s.FDsEnd)
		if s.Error != "" {
			row("server", "%s", s.Error)
		}
	}
	if f := r.Flood; f != nil {
		row("flood", "%.0f/s offered, %.1f times the capacity of %.0f/s", f.OfferedPerSecond, f.Factor, f.CapacityPerSecond)
		for _, b := range f.Broken {
			row("  BROKEN", "%s", b)
		}
		if len(f.Broken) == 0 {
			row("  held", "each request was answered or refused, none lost")
		}
	}
	for _, s := range r.Warnings {
		row("warning", "%s", s)
	}
	return w.Flush()
}

func (r *Result) loadRows(row func(name, format string, args ...any)) {
	t, c := r.Total, r.Settings
	if r.Loop == "open" {
		row("load", "open loop, %.0f/s over %d connections, mix %s", c.RatePerSecond, c.Connections, c.Mix)
	} else {
		row("load", "closed loop, %d connections x %d in flight, mix %s", c.Connections, c.InFlight, c.Mix)
	}
	row("throughput", "%.0f answers a second for %.1f s", r.PerSecond, r.Seconds)
	row("requests", "%d sent: %d ok, %d refused, %d failed, %d lost, %d cut off", t.Sent, t.OK, t.Refused, t.Failed, t.Lost, t.CutOff)
	if t.Unsent > 0 {
		row("  unsent", "%d were due and not sent: the server took no more bytes, or the run ended", t.Unsent)
	}
	if t.Unexpected+t.Malformed > 0 {
		row("  bad answers", "%d unexpected, %d malformed", t.Unexpected, t.Malformed)
	}
	if t.Events+t.Accepted > 0 {
		row("  beside them", "%d events, %d first answers of two", t.Events, t.Accepted)
	}
	failureRows(row, "  error", r.Failures)
	failureRows(row, "  closed", r.Closes)
	row("latency", "%s  mean %s", t.Latency, measure.Show(t.Latency.Mean))
	if len(r.Methods) > 1 {
		for _, m := range r.Methods {
			row("  "+m.Method, "%s  (%d ok, %d refused, %d failed)", m.Latency, m.OK, m.Refused, m.Failed)
		}
	}
	row("generator CPU", "%.2f µs a call, %.2f cores", r.Generator.CPUPerCallUs, r.Generator.Cores)
}

func failureRows(row func(name, format string, args ...any), name string, all []Failure) {
	for _, f := range all {
		row(name, "%s x %d: %s", f.Code, f.Count, f.Text)
	}
}
