// Package embedded runs maru's default Kafka-compatible broker inside the
// process. It is the only importer of kfake, a broker that was written for
// tests, and it owns everything that makes kfake fit for keeping data: the lock
// on the data directory, recovery after an unclean stop, trimming, the checks
// on every connection, and the watch over the disk. It does not know what maru
// puts into topics, and it is not a cluster: several brokers in one process
// share one disk and exist only so that tools see the shape they expect.
//
// # How a request travels
//
// In-process clients dial through memory (Broker.Dial) and are trusted. Kafka's
// own tools come over a loopback TCP listener and are not. Both kinds of
// connection are wrapped in a gate, which hands kfake one checked request at a
// time: a gate reads whole frames, refuses or narrows what the rules forbid,
// and puts the refusals back into kfake's answer.
//
// # Closing order
//
// Close the clients first, then the Broker. kfake saves the members of groups
// when it stops and waits for their sessions after the next start, so a member
// that was not closed would delay the group by its session time-out (K6); Close
// therefore also removes whatever members are left, such as console consumers.
//
// # What is known about kfake
//
// The rules exist because of the following behaviour of the pinned version.
// Each line has a regression test named after it, which fails when a newer
// kfake behaves differently, so that the guard can be reconsidered.
//
//   - K1: a partition that was emptied has end offset 0 after a restart, while
//     commits stay. Nothing here ever removes the last record.
//   - K2: the retention of kfake, once started by any topic, applies to all and
//     may empty them. It is switched off; trim.go does that work.
//   - K3: compaction deletes before it rewrites. It is refused.
//   - K4: an unknown API key ends the process.
//   - K5: a torn tail of groups.log stays, and hides later commits from the
//     next recovery. After an unclean stop the log is rewritten by a clean one.
//   - K6: members of groups that outlive the broker delay the next start.
//   - K7: a record whose length field lies makes a later look-up by timestamp
//     end the process, and a batch that claims a negative number of records
//     moves the end offset back. Batches from outside are decoded completely
//     before kfake sees them.
//   - K8: kfake stamps a batch that carries the LogAppendTime flag without
//     mending its checksum, and cuts the log there at the next start. The flag
//     never reaches it; gates stamp by themselves (see stamp in batch.go).
//   - K9: after a failed write, kfake takes the retry of an idempotent producer
//     for a duplicate and acknowledges it. Such a failure therefore stays one
//     that producers do not retry, while others are told to try again.
//   - K10: a count of tags beyond what follows in a request keeps the decoder of
//     kmsg busy for seconds. Few requests from outside are decoded at a time, and
//     kfake gets them encoded anew.
//   - Errors of fsync are dropped; see disk.go for what is done instead.
package embedded
