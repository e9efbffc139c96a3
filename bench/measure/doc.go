// Package measure holds the bench's instruments: a latency histogram with fixed buckets
// and a reader of another process's memory and processor time from /proc.
//
// Nothing here starts goroutines; the user decides when to look.
package measure
