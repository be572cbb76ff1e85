// Package maru holds the vocabulary that every other package of the server
// shares: identifiers and their rules, the hash that gives each user and room
// its slot, error codes, log records, and the rows of a checkpoint.
//
// It does no I/O, keeps no state and imports the standard library only, so that
// every other package may import it.
package maru
