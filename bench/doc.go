// Package bench is the command `sluice bench`: it joins the load generator, the limit
// server, the disk measurement, the comparison and the report to one command tree.
//
// What each measures stands in its own package; docs/bench.md says how to repeat every
// published figure.
package bench
