// Package store keeps maru's state in SQL: SQLite for one machine, PostgreSQL
// for several, by the same statements.
//
// What it holds is a checkpoint. The log (the topic commands) is the truth;
// every row here equals the fold of the log up to its slot's next_offset, and
// losing the newest transactions only means that a home applies a little more of
// the log again. From this follow the choices that look daring elsewhere, such as
// SQLite's synchronous=NORMAL.
//
// The package owns the schema and its migrations, the fence (each slot's epoch,
// checked by every transaction of a home) and the judgement whether a failed
// COMMIT is known to have failed. It does not interpret state (UserRow.State and
// Checkpoint.Aux are bytes to it), does not cache, and does not try again: the
// caller knows whether a repetition is still wanted.
//
// A Store is safe for concurrent use. It holds no mutable state of its own other
// than connection pools and a cache of statement texts.
package store
