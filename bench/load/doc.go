// Package load makes load on any gateway of the OpenClaw Gateway protocol and measures
// what comes back: throughput, latency, refusals, lost answers, and the server's memory
// and processor time by its pid.
//
// It shares the machine with the server, so it is built to cost little: one goroutine a
// connection in the closed loop (two in the open loop), one write for all requests that
// answers of one read made possible, and no allocation a request.
//
// Lifecycle: Run does setup, warm-up, measurement, drain and clean-up, and returns a
// Result. Everything is bounded in time and count by Config, and nothing outlives Run.
package load
