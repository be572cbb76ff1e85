// Package kafka is everything that maru says to Kafka: it creates and checks the
// topics, produces records in order, gives a home its slots and reads their log,
// and reads a gateway's partition of delivery. It is the only package (beside
// the embedded broker under it) that imports a Kafka client.
//
// It knows topics, partitions and offsets, not what records mean: it neither
// parses values nor keeps state of users or rooms, and it does not touch SQL.
// What has to be stored (claims, positions) is asked of a Handler.
//
// The parts and who drives them:
//
//   - Admin makes short requests; any goroutine.
//   - Producer sends records; any goroutine, one order per partition.
//   - Slots runs one owner goroutine that decides which slots this process
//     serves, from the events of a consumer group.
//   - Delivery runs one goroutine that reads one partition from its end.
package kafka
