// Package e2e tests the whole program from outside: the binary that users get, started as they start
// it, with Apache Kafka's own console tools, a plain HTTP client and other programs' producers in
// front of it, on the embedded broker and on three real brokers with PostgreSQL.
//
// It owns the stories of the login pair (contract: topics, keys, lines, partitions), of hostile input
// on it, and of guessing passwords by REST. Whole clusters under faults are in internal/testcluster,
// the command line itself is in cmd/maru. The package has tests only.
package e2e
