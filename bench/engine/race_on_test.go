//go:build race

package engine

// raceEnabled: sync.Pool drops what it holds at random under the race detector, so
// allocations cannot be counted.
const raceEnabled = true
