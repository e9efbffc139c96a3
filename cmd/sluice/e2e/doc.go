// Package e2e runs the real OpenClaw clients, unchanged and pinned, against the built sluice binary and
// checks what they print, what they see and every frame that went over the wire.
//
// Run it with ./run.sh (or `make e2e`), which installs the clients, builds sluice and Jaeger and then
// runs `go test -tags e2e` here. Nothing is skipped: a tool that is missing is a failure.
//
// What the real gateway answers is kept in testdata/*.golden, recorded from openclaw 2026.9.6 itself
// (E2E_TARGET=openclaw ./run.sh -run TestProbes -update). Where sluice differs on purpose, the test
// names the line and says why.
//
// Tests that mostly wait run in parallel, each with a gateway of its own, after those that measure time,
// memory or crashes.
//
// The package holds tests only; this file exists so that the folder is a package without the tag.
package e2e
