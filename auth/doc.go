// Package auth holds what maru knows about secrets: hashing and judging passwords, the
// cluster secret and the keys made from it, passwords sealed for the homes, signed tokens
// and claims, and the memory of verified passwords.
//
// It owns no user, session or limit and reads no clock: who a credential belongs to,
// whether a session still lives and what time it is are told by the caller. It stores
// nothing except the cluster secret's file, and logs nothing.
//
// Passwords come in as byte slices of 1 to 1,024 bytes that stay the caller's: no
// function here keeps or changes them, and copies made on the way are zeroed. They are
// never truncated. Wherever two passwords are compared, hashed or remembered, their
// Unicode NFC form counts, because Korean typed on one system arrives as whole syllables
// and on another as single letters, and both are the same password.
package auth
