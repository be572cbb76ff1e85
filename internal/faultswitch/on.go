//go:build faultswitch

package faultswitch

// Set is the set of the steps that are turned off; it is immutable, and a nil
// set turns nothing off.
type Set struct{ off map[Step]bool }

// New returns a set in which the given steps are off.
func New(steps ...Step) *Set {
	s := &Set{off: map[Step]bool{}}
	for _, step := range steps {
		s.off[step] = true
	}
	return s
}

// Off tells whether the step is turned off.
func (s *Set) Off(step Step) bool { return s != nil && s.off[step] }
