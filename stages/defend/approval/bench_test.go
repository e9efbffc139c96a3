package approval

import (
	"context"
	"strconv"
	"testing"
)

// BenchmarkAskResolve is one command asked about and allowed, without a disk.
func BenchmarkAskResolve(b *testing.B) {
	br, err := New(Default(), Deps{})
	if err != nil {
		b.Fatal(err)
	}
	by := operator("c2")
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := br.Ask(context.Background(), echo(strconv.Itoa(i))); err != nil {
			b.Fatal(err)
		}
		if _, result, err := br.Resolve(context.Background(), Resolution{ID: strconv.Itoa(i), Kind: KindExec, Decision: AllowOnce, By: by}); result != Applied {
			b.Fatal(result, err)
		}
	}
}

// BenchmarkGranted is a command that a standing grant covers.
func BenchmarkGranted(b *testing.B) {
	br, err := New(Default(), Deps{})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := br.Ask(context.Background(), echo("a")); err != nil {
		b.Fatal(err)
	}
	br.Resolve(context.Background(), Resolution{ID: "a", Kind: KindExec, Decision: AllowAlways, By: operator("c2")})
	b.ReportAllocs()
	for b.Loop() {
		if v, err := br.Ask(context.Background(), echo("")); err != nil || v.Status != "allowed" {
			b.Fatal(v, err)
		}
	}
}

// BenchmarkAskAtBound is a new approval while as many wait as may.
func BenchmarkAskAtBound(b *testing.B) {
	br, err := New(Default(), Deps{})
	if err != nil {
		b.Fatal(err)
	}
	for i := range Default().MaxPending - 1 {
		if _, err := br.Ask(context.Background(), echo("w"+strconv.Itoa(i))); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		br.Ask(context.Background(), echo(strconv.Itoa(i)))
		br.Cancel(context.Background(), strconv.Itoa(i))
	}
	br.Close(context.Background())
}
