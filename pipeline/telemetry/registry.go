package telemetry

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/common/model"
)

// Labels are fixed names and values of one series. Values are few and known: never an
// id of a session, run or connection.
type Labels map[string]string

// Registry is what /metrics shows. Metrics are read by calling functions when somebody
// scrapes, so that they cost their owners an atomic add and nothing more. Safe for
// concurrent use.
type Registry struct {
	prom      *prometheus.Registry
	scrapes   int
	maxSeries int
	dropped   atomic.Uint64

	mu       sync.Mutex
	families map[string]*family
	order    []*family
}

// family is every series of one name.
type family struct {
	name, help string
	kind       prometheus.ValueType
	histogram  bool
	labels     []string // sorted names
	series     []series
	collect    []func(Emit)
}

type series struct {
	values []string
	value  func() float64
	hist   HistogramFunc
}

// HistogramFunc reads a histogram: cumulative counts by upper bound, the number of
// observations and their sum. (*Histogram).Read is one, and so is pipeline's.
type HistogramFunc func() (cumulative map[float64]uint64, count uint64, sum float64)

// Emit hands one series of a dynamic family to the scrape; values stand in the order of
// the names given at registration.
type Emit func(value float64, labelValues ...string)

// NewRegistry returns a registry with the Go runtime's and the process's own metrics.
func NewRegistry(c MetricsConfig) *Registry {
	r := &Registry{prom: prometheus.NewRegistry(), scrapes: c.MaxScrapes, maxSeries: c.MaxSeries, families: map[string]*family{}}
	r.prom.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), r)
	must(r.RegisterCounterFunc("openclaw_prometheus_series_dropped_total",
		"Series that were left out of a scrape because of metrics.maxSeries.", nil, func() float64 { return float64(r.dropped.Load()) }))
	return r
}

// must is for names that are constants of this package.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// RegisterCounterFunc adds a series that only grows. The same name may be registered
// with other label values, not with other label names or another help text.
func (r *Registry) RegisterCounterFunc(name, help string, labels Labels, fn func() float64) error {
	return r.add(name, help, prometheus.CounterValue, false, labels, series{value: fn})
}

// RegisterGaugeFunc adds a series that goes up and down.
func (r *Registry) RegisterGaugeFunc(name, help string, labels Labels, fn func() float64) error {
	return r.add(name, help, prometheus.GaugeValue, false, labels, series{value: fn})
}

// RegisterHistogramFunc adds a histogram. Units are in the name: …_seconds.
func (r *Registry) RegisterHistogramFunc(name, help string, labels Labels, fn HistogramFunc) error {
	return r.add(name, help, prometheus.UntypedValue, true, labels, series{hist: fn})
}

// RegisterCounters adds counters whose label values are known only at the scrape, for
// example one for each method that was called.
func (r *Registry) RegisterCounters(name, help string, labelNames []string, collect func(Emit)) error {
	return r.addDynamic(name, help, prometheus.CounterValue, labelNames, collect)
}

// RegisterGauges is RegisterCounters for values that go up and down.
func (r *Registry) RegisterGauges(name, help string, labelNames []string, collect func(Emit)) error {
	return r.addDynamic(name, help, prometheus.GaugeValue, labelNames, collect)
}

func (r *Registry) add(name, help string, kind prometheus.ValueType, histogram bool, labels Labels, s series) error {
	names := make([]string, 0, len(labels))
	for n := range labels {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		s.values = append(s.values, labels[n])
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	f, err := r.family(name, help, kind, histogram, names)
	if err != nil {
		return err
	}
	for _, have := range f.series {
		if slices.Equal(have.values, s.values) {
			return fmt.Errorf("telemetry: %s%v is registered twice", name, s.values)
		}
	}
	f.series = append(f.series, s)
	return nil
}

func (r *Registry) addDynamic(name, help string, kind prometheus.ValueType, labelNames []string, collect func(Emit)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	f, err := r.family(name, help, kind, false, labelNames)
	if err == nil {
		f.collect = append(f.collect, collect)
	}
	return err
}

func (r *Registry) family(name, help string, kind prometheus.ValueType, histogram bool, labels []string) (*family, error) {
	if !model.LegacyValidation.IsValidMetricName(name) {
		return nil, fmt.Errorf("telemetry: %q is not a metric name", name)
	}
	for _, l := range labels {
		if !model.LegacyValidation.IsValidLabelName(l) || l == "le" && histogram {
			return nil, fmt.Errorf("telemetry: %s: %q is not a label name", name, l)
		}
	}
	f := r.families[name]
	if f == nil {
		f = &family{name: name, help: help, kind: kind, histogram: histogram, labels: slices.Clone(labels)}
		r.families[name] = f
		r.order = append(r.order, f)
		return f, nil
	}
	if f.help != help || f.kind != kind || f.histogram != histogram || !slices.Equal(f.labels, labels) {
		return nil, fmt.Errorf("telemetry: %s is registered with another type, help or labels", name)
	}
	return f, nil
}

// Describe implements prometheus.Collector; it says nothing because what there is to
// collect grows.
func (r *Registry) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector: it calls every function, up to the bound on
// series.
func (r *Registry) Collect(out chan<- prometheus.Metric) {
	r.mu.Lock()
	families := slices.Clone(r.order)
	r.mu.Unlock()
	s := scrape{r: r, out: out}
	for _, f := range families {
		desc := prometheus.NewDesc(f.name, f.help, f.labels, nil)
		r.mu.Lock()
		list, collect := f.series[:len(f.series):len(f.series)], f.collect[:len(f.collect):len(f.collect)]
		r.mu.Unlock()
		for _, one := range list {
			s.emit(desc, f, one)
		}
		for _, fn := range collect {
			fn(func(v float64, values ...string) {
				s.emit(desc, f, series{values: values, value: func() float64 { return v }})
			})
		}
	}
}

// scrape counts the series of one collection.
type scrape struct {
	r    *Registry
	out  chan<- prometheus.Metric
	sent int
}

// emit sends one series; a histogram counts as one for each bucket. A panic in a
// function of another package must not take /metrics away.
func (s *scrape) emit(desc *prometheus.Desc, f *family, one series) {
	defer func() {
		if r := recover(); r != nil {
			s.out <- prometheus.NewInvalidMetric(desc, fmt.Errorf("reading %s: %v", f.name, r))
		}
	}()
	if one.hist == nil {
		if !s.room(1) {
			return
		}
		m, err := prometheus.NewConstMetric(desc, f.kind, one.value(), one.values...)
		s.send(desc, m, err)
		return
	}
	cumulative, count, sum := one.hist()
	if !s.room(len(cumulative) + 3) {
		return
	}
	m, err := prometheus.NewConstHistogram(desc, count, sum, cumulative, one.values...)
	s.send(desc, m, err)
}

func (s *scrape) room(n int) bool {
	if s.sent+n > s.r.maxSeries {
		s.r.dropped.Add(uint64(n))
		return false
	}
	s.sent += n
	return true
}

func (s *scrape) send(desc *prometheus.Desc, m prometheus.Metric, err error) {
	if err != nil {
		m = prometheus.NewInvalidMetric(desc, err)
	}
	s.out <- m
}

// Handler serves /metrics. The caller authenticates.
func (r *Registry) Handler() http.Handler {
	return promhttp.HandlerFor(r.prom, promhttp.HandlerOpts{
		ErrorHandling:       promhttp.ContinueOnError, // one broken metric hides no other
		MaxRequestsInFlight: r.scrapes,
		Timeout:             10 * time.Second,
	})
}

// Gatherer gives the metrics to tests, bench and doctor.
func (r *Registry) Gatherer() prometheus.Gatherer { return r.prom }
