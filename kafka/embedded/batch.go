package embedded

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"
)

// Layout of a record batch, version 2 (Kafka protocol guide, "Record Batch").
// The checksum covers everything from the attributes on.
const (
	batchLength     = 8
	batchMagic      = 16
	batchCRC        = 17
	batchAttributes = 21
	batchLastOffset = 23
	batchFirstTime  = 27
	batchMaxTime    = 35
	batchProducerID = 43
	batchNumRecords = 57
	batchHeader     = 61

	attrCodec         = 0x0007
	attrLogAppendTime = 0x0008
	attrControl       = 0x0020
)

// maxInflated bounds what a batch from outside may decompress to, maxHeaders
// the headers of one record. Both protect whoever decodes the batch later: kfake
// when it looks up a timestamp, and every consumer.
const (
	maxInflated = 16 << 20
	maxHeaders  = 1024
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var (
	errBatch     = errors.New("corrupt record batch")
	errBatchSize = errors.New("record batch decompresses to more than 16 MiB")
)

// checkBatch decodes a batch that came from outside completely and says what is
// wrong with it. kfake stores what it is given after a look at the header only,
// and a record that lies about its length ends the process when it is decoded
// later (K7).
func (f *inflater) checkBatch(b []byte) error {
	if len(b) < batchHeader || b[batchMagic] != 2 {
		return fmt.Errorf("%w: no header of version 2", errBatch)
	}
	if int64(binary.BigEndian.Uint32(b[batchLength:])) != int64(len(b)-batchLength-4) {
		return fmt.Errorf("%w: the length field is wrong", errBatch)
	}
	if crc32.Checksum(b[batchAttributes:], castagnoli) != binary.BigEndian.Uint32(b[batchCRC:]) {
		return fmt.Errorf("%w: checksum mismatch", errBatch)
	}
	attrs := binary.BigEndian.Uint16(b[batchAttributes:])
	if attrs&(attrControl|attrLogAppendTime) != 0 {
		return fmt.Errorf("%w: clients set neither the control nor the append-time flag", errBatch)
	}
	n := int32(binary.BigEndian.Uint32(b[batchNumRecords:]))
	if n < 1 || int32(binary.BigEndian.Uint32(b[batchLastOffset:])) != n-1 {
		return fmt.Errorf("%w: %d records", errBatch, n)
	}
	first := int64(binary.BigEndian.Uint64(b[batchFirstTime:]))
	last := int64(binary.BigEndian.Uint64(b[batchMaxTime:]))
	if last < first || last-first < 0 {
		return fmt.Errorf("%w: timestamps out of order", errBatch)
	}
	records, err := f.inflate(b[batchHeader:], int(attrs&attrCodec))
	if err != nil {
		return err
	}
	return checkRecords(records, n, last-first)
}

// checkRecords walks over exactly n records, each one offset further and none
// later than span after the first.
func checkRecords(b []byte, n int32, span int64) error {
	for i := range n {
		size, used := binary.Varint(b)
		if used <= 0 || size < 0 || size > int64(len(b)-used) {
			return fmt.Errorf("%w: record %d: length", errBatch, i)
		}
		if err := checkRecord(b[used:used+int(size)], i, span); err != nil {
			return err
		}
		b = b[used+int(size):]
	}
	if len(b) > 0 {
		return fmt.Errorf("%w: %d bytes after the last record", errBatch, len(b))
	}
	return nil
}

func checkRecord(b []byte, index int32, span int64) error {
	r := recordReader{b: b}
	r.skip(1) // attributes, unused by Kafka
	if delta := r.varint(); delta > span {
		return fmt.Errorf("%w: record %d: timestamp after the batch's last", errBatch, index)
	}
	if r.varint() != int64(index) {
		return fmt.Errorf("%w: record %d: offset", errBatch, index)
	}
	r.field()
	r.field()
	headers := r.varint()
	if headers < 0 || headers > maxHeaders {
		return fmt.Errorf("%w: record %d: %d headers, at most %d are taken", errBatch, index, headers, maxHeaders)
	}
	for range headers {
		key := r.varint() // a header's key, unlike its value, cannot be null
		r.bad = r.bad || key < 0
		r.skip(key)
		r.field()
	}
	if r.bad || len(r.b) > 0 {
		return fmt.Errorf("%w: record %d", errBatch, index)
	}
	return nil
}

// recordReader reads the fields of one record; bad stays set after the first
// field that does not fit.
type recordReader struct {
	b   []byte
	bad bool
}

func (r *recordReader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *recordReader) skip(n int64) {
	if n < 0 || n > int64(len(r.b)) {
		r.bad, r.b = true, nil
		return
	}
	r.b = r.b[n:]
}

// field skips bytes with a length before them; -1 stands for null.
func (r *recordReader) field() {
	n := r.varint()
	if n == -1 {
		return
	}
	r.skip(n)
}

// stamper gives out the broker's time for records, in milliseconds, never going
// back: a step of the machine's clock must not put a record before its
// predecessor. The zero value is ready; it is not safe for concurrent use.
type stamper struct{ last int64 }

func (s *stamper) now() int64 {
	s.last = max(s.last, time.Now().UnixMilli())
	return s.last
}

// stamp does what message.timestamp.type=LogAppendTime asks for, which kfake
// does not do: it moves the times of a whole batch so that its last one is the
// broker's now. Records of a batch keep their distances, which a producer's
// linger bounds, so the broker needs not decompress anything. Consumers see
// timestamp type CreateTime, because the flag for the other one is what kfake
// fails at (K8). A batch that kfake will refuse is left alone.
func stamp(b []byte, now int64) {
	if len(b) < batchHeader || b[batchMagic] != 2 {
		return
	}
	if crc32.Checksum(b[batchAttributes:], castagnoli) != binary.BigEndian.Uint32(b[batchCRC:]) {
		return
	}
	first := int64(binary.BigEndian.Uint64(b[batchFirstTime:]))
	last := int64(binary.BigEndian.Uint64(b[batchMaxTime:]))
	span := max(0, last-first)
	binary.BigEndian.PutUint64(b[batchFirstTime:], uint64(now-span))
	binary.BigEndian.PutUint64(b[batchMaxTime:], uint64(now))
	binary.BigEndian.PutUint32(b[batchCRC:], crc32.Checksum(b[batchAttributes:], castagnoli))
}

// idempotent tells whether a batch carries a producer id. What is too short for
// one is refused by kfake in any case.
func idempotent(b []byte) bool {
	return len(b) < batchHeader || int64(binary.BigEndian.Uint64(b[batchProducerID:])) >= 0
}
