//go:build race

package command

// raceEnabled: the race detector pads what is allocated, so the size of tables says nothing.
const raceEnabled = true
