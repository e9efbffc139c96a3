// Package badinput holds tests only.
package badinput
