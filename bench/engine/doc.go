// Package engine measures the inside of the gateway: each of the seven real stages
// alone, all of them as a pipeline, group commit, fan-out, tracing, and the codec, with
// allocations. It has benchmarks and tests only; nothing imports it.
//
// The stages are built as cmd/sluice/wire.go builds them, over a store of their own and
// a client without a socket. bench/baseline/run.sh compares the figures with committed
// ones; `sluice bench` measures the same gateway from outside.
package engine
