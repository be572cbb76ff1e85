//go:build !faultswitch

package faultswitch

// Set is empty in a normal build: every step is on.
type Set struct{}

// Off is false: no step can be turned off in this build.
func (*Set) Off(Step) bool { return false }
