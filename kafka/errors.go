package kafka

import (
	"errors"
	"fmt"
)

var (
	// ErrFull is what TryProduce answers while the producer's buffer is full.
	ErrFull = errors.New("the buffer of records not yet in Kafka is full")
	// ErrRecordTooLarge refuses a record of more than MaxRecordBytes.
	ErrRecordTooLarge = errors.New("the record is too large")
	// ErrClosed is what a record gets that was not in Kafka when the producer closed.
	ErrClosed = errors.New("the producer is closed")
)

// ErrLogShorter says that a log ends before the position that SQL has of it: the
// log lost records that the checkpoint contains. Going on would give new records
// the offsets of lost ones.
type ErrLogShorter struct {
	Topic     string
	Partition int32
	Position  int64 // first offset that the checkpoint does not contain
	End       int64 // the log's end, or where it lost records
}

func (e *ErrLogShorter) Error() string {
	return fmt.Sprintf("topic %s partition %d is shorter than its checkpoint: the log ends at offset %d, the checkpoint in SQL at %d; "+
		"bring back the log that belongs to this database, or run `maru repair` to go on from what the database has",
		e.Topic, e.Partition, e.End, e.Position)
}

// ErrLogReplaced says that a topic is not the one that SQL knows but another of
// the same name: it was deleted and made again, or belongs to another cluster. An
// offset of the one means nothing in the other, even where both have it.
type ErrLogReplaced struct {
	Topic  string
	ID     string // of the topic that is there
	Wanted string // of the topic that the checkpoints are of
}

func (e *ErrLogReplaced) Error() string {
	return fmt.Sprintf("topic %s is not the log that this database belongs to: its id is %s, that of the log was %s, so it was deleted and made again, or it is another cluster's; "+
		"bring back the log that belongs to this database, or run `maru repair` to go on from what the database has",
		e.Topic, e.ID, e.Wanted)
}

// ErrLogTrimmed says that a log begins after the position that SQL has of it:
// records that no checkpoint contains were deleted.
type ErrLogTrimmed struct {
	Topic     string
	Partition int32
	Position  int64 // first offset that the checkpoint does not contain
	Start     int64 // the first offset that the log still has
}

func (e *ErrLogTrimmed) Error() string {
	return fmt.Sprintf("topic %s partition %d was trimmed beyond its checkpoint: the log starts at offset %d, the checkpoint in SQL ends at %d; "+
		"restore the database that belongs to this log, or run `maru repair` to go on without the %d records between",
		e.Topic, e.Partition, e.Start, e.Position, e.Start-e.Position)
}
