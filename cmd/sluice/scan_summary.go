package main

import (
	"fmt"
	"io"
	"math/bits"
	"slices"
	"strings"
	"text/tabwriter"

	"sluice/pipeline"
)

// scanSummary counts what was judged. Its size does not depend on how much that is.
type scanSummary struct {
	kinds   map[string]*kindSummary
	tags    map[string]*[3]int // by action
	slowest []slowText
	files   int
	entries int // of transcripts, without a text to judge
	skipped map[string]*skips
}

type kindSummary struct {
	decisions [3]int // by action
	bytes     int64
	perText   quantiles // nanoseconds
	perKiB    quantiles // nanoseconds, of texts of at least perKiBFrom bytes
}

type slowText struct {
	id    string
	nanos int64
	bytes int
}

type skips struct {
	count int
	names []string // the first ones
}

const (
	slowestTexts = 3
	skippedNames = 10
	// perKiBFrom: below it, what a text costs whatever its size would count for more than
	// its size.
	perKiBFrom = 256
	// maxSummaryTags bounds the table of tags: an operator's patterns can make new ones.
	maxSummaryTags = 256
)

func newScanSummary() *scanSummary {
	return &scanSummary{kinds: map[string]*kindSummary{}, tags: map[string]*[3]int{}, skipped: map[string]*skips{}}
}

func (s *scanSummary) add(t *scanText, v *scanVerdict) {
	k := s.kinds[t.kind]
	if k == nil {
		k = &kindSummary{}
		s.kinds[t.kind] = k
	}
	k.decisions[v.action]++
	k.bytes += int64(len(t.text))
	k.perText.add(v.nanos)
	if len(t.text) >= perKiBFrom {
		k.perKiB.add(v.nanos * 1024 / int64(len(t.text)))
	}
	for i, tag := range v.tags {
		if slices.Contains(v.tags[:i], tag) {
			continue
		}
		if s.tags[tag] == nil && len(s.tags) == maxSummaryTags {
			tag = "(others)"
		}
		if s.tags[tag] == nil {
			s.tags[tag] = new([3]int)
		}
		s.tags[tag][v.action]++
	}
	if len(s.slowest) < slowestTexts || v.nanos > s.slowest[len(s.slowest)-1].nanos {
		s.slowest = append(s.slowest, slowText{string(t.id), v.nanos, len(t.text)})
		slices.SortStableFunc(s.slowest, func(a, b slowText) int { return int(b.nanos - a.nanos) })
		s.slowest = s.slowest[:min(len(s.slowest), slowestTexts)]
	}
}

func (s *scanSummary) skip(why, name string) {
	if s.skipped[why] == nil {
		s.skipped[why] = &skips{}
	}
	sk := s.skipped[why]
	if sk.count++; len(sk.names) < skippedNames {
		sk.names = append(sk.names, name)
	}
}

func (s *scanSummary) skippedCount() (n int) {
	for _, sk := range s.skipped {
		n += sk.count
	}
	return n
}

// write prints the tables; errors of w show at its Flush.
func (s *scanSummary) write(w io.Writer) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "KIND\tALLOW\tREVIEW\tBLOCK\tTEXTS\tBYTES\tUS P50\tUS P99\tUS MAX\tUS/KIB P50\tUS/KIB P99\t")
	for _, name := range sortedKeys(s.kinds) {
		k := s.kinds[name]
		fmt.Fprintf(tw, "%s\t%d\t%d\t%d\t%d\t%d\t%s\t%s\t%s\t%s\t%s\t\n", name, k.decisions[pipeline.Allow], k.decisions[pipeline.Review], k.decisions[pipeline.Block],
			k.perText.count, k.bytes, micros(k.perText.at(0.50)), micros(k.perText.at(0.99)), micros(k.perText.max), micros(k.perKiB.at(0.50)), micros(k.perKiB.at(0.99)))
	}
	if len(s.tags) > 0 {
		fmt.Fprintln(tw, "\t\nTAG\tALLOW\tREVIEW\tBLOCK\tTEXTS\t")
		for _, tag := range sortedKeys(s.tags) {
			n := s.tags[tag]
			fmt.Fprintf(tw, "%s\t%d\t%d\t%d\t%d\t\n", visible(tag), n[pipeline.Allow], n[pipeline.Review], n[pipeline.Block], n[0]+n[1]+n[2])
		}
	}
	tw.Flush()
	if len(s.slowest) > 0 {
		fmt.Fprintln(w, "\nslowest:")
		for _, t := range s.slowest {
			fmt.Fprintf(w, "  %s us  %d bytes  %s\n", micros(t.nanos), t.bytes, visible(t.id))
		}
	}
	if s.files > 0 {
		fmt.Fprintf(w, "\n%s", count(s.files, "file"))
	}
	if s.entries > 0 {
		fmt.Fprintf(w, "\n%s of transcripts without a text to judge", map[bool]string{true: "1 entry", false: fmt.Sprint(s.entries, " entries")}[s.entries == 1])
	}
	for _, why := range sortedKeys(s.skipped) {
		sk := s.skipped[why]
		more := ""
		if sk.count > len(sk.names) {
			more = fmt.Sprintf(" and %d more", sk.count-len(sk.names))
		}
		fmt.Fprintf(w, "\nskipped, %s: %d (%s%s)", why, sk.count, visible(strings.Join(sk.names, ", ")), more)
	}
	fmt.Fprintln(w)
}

func micros(nanos int64) string { return fmt.Sprintf("%.2f", float64(nanos)/1000) }

// quantiles is a histogram with steps of less than 2 %: enough for a table, in 16 KiB
// however many texts there are.
type quantiles struct {
	buckets [64 << stepBits]uint32
	count   int
	max     int64
}

const stepBits = 6 // 64 steps from one power of two to the next

func (q *quantiles) add(nanos int64) {
	nanos = max(nanos, 0)
	q.count++
	q.max = max(q.max, nanos)
	q.buckets[stepOf(uint64(nanos))]++
}

// stepOf numbers the bucket of n; small numbers have one each.
func stepOf(n uint64) int {
	if n < 1<<stepBits {
		return int(n)
	}
	shift := bits.Len64(n) - 1 - stepBits
	return (shift+1)<<stepBits + int(n>>shift) - 1<<stepBits
}

// at is the value that a share p of all do not exceed, within one step.
func (q *quantiles) at(p float64) int64 {
	rank, seen := int(p*float64(q.count)), 0
	for i, n := range q.buckets {
		if seen += int(n); seen > rank {
			if i < 1<<stepBits {
				return int64(i)
			}
			shift := i>>stepBits - 1
			return min(int64(i&(1<<stepBits-1)|1<<stepBits)<<shift, q.max)
		}
	}
	return q.max
}
