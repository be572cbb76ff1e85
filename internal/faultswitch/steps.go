// Package faultswitch turns single steps of the engine off, so that a test can
// show that the checker notices when a step is missing. In a normal build every
// switch is the constant false and the compiler removes it; only a build with
// the tag "faultswitch" can turn one off.
package faultswitch

// Step names a step of the engine that protects data. The numbers in the
// comments are those of docs/engine.md.
type Step string

// The steps that can be turned off. Those that a test can take away from outside
// (the fences of SQL, the log that refuses a record) have no switch here.
const (
	AwaitAcks        Step = "await-acks"        // 17: a checkpoint waits for the outputs before it
	FailedAcks       Step = "failed-acks"       // 17, 26: a refused output drops the slot
	StateWithOffset  Step = "state-with-offset" // 16: state and offset are cut together
	CommandWindow    Step = "command-window"    // 8: commands are remembered
	WindowInRow      Step = "window-in-row"     // 6: ... in the row, so that eviction keeps them
	Inbox            Step = "inbox"             // 11: streams drop what they have accepted
	DenseInbox       Step = "dense-inbox"       // 11: ... and accept the successor only
	FrozenStay       Step = "frozen-stay"       // 14: what a checkpoint is writing is not evicted
	ContiguousOffset Step = "contiguous-offset" // 2: a gap drops the slot
	OneApply         Step = "one-apply"         // all homes apply by the same rules
	LoginPosition    Step = "login-position"    // a login request is finished when its answer is applied
)
