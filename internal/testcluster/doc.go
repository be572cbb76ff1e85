// Package testcluster runs whole clusters inside one test: an embedded broker in
// memory, any number of gateways and homes that are the real node.Node, a SQLite
// database, and clients that speak HTTP, all over an in-memory network and in the
// virtual time of a testing/synctest bubble.
//
// Processes can be cut off, paused, crashed and started again. A Cluster watches
// everything that is written to Kafka; Check then compares it with what an oracle
// makes of the log, and with what clients were told.
package testcluster
