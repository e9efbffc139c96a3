// Package compare measures several gateways in one run, in rounds A B C A B C, so that
// whatever else the machine does falls on all alike, and prints medians and ratios.
//
// A target is a running gateway (URL, pid, token) or a command that Compare starts and
// stops itself: by default this program's own `serve` and `bench limit`. Assertions on
// medians and ratios turn it into a test.
package compare
