//go:build !linux

package telemetry

// ReleaseStartPages does nothing where it is not known how.
func ReleaseStartPages() {}
