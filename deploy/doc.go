// Package deploy describes the reference deployment: compose.yaml and the Dockerfile at the top of
// the repository, and the settings of their Kafka nodes.
//
// It reads those files, so that tests hold what they say against the settings here, against the
// brokers that tests really start, and against maru's own command line. It starts nothing, and the
// server does not use it.
package deploy
