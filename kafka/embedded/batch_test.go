package embedded

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"testing"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// appendRecord writes one record of version 2 without headers.
func appendRecord(b []byte, index int, delta int64, value string) []byte {
	r := []byte{0}
	r = binary.AppendVarint(r, delta)
	r = binary.AppendVarint(r, int64(index))
	r = binary.AppendVarint(r, -1)
	r = binary.AppendVarint(r, int64(len(value)))
	r = append(r, value...)
	r = binary.AppendVarint(r, 0)
	return append(binary.AppendVarint(b, int64(len(r))), r...)
}

// sealBatch puts a header before records and computes the checksum. change may
// alter the batch before that.
func sealBatch(at time.Time, n int32, codec uint16, records []byte, change func(b []byte)) []byte {
	b := make([]byte, batchHeader, batchHeader+len(records))
	b = append(b, records...)
	binary.BigEndian.PutUint32(b[batchLength:], uint32(len(b)-batchLength-4))
	b[batchMagic] = 2
	binary.BigEndian.PutUint16(b[batchAttributes:], codec)
	binary.BigEndian.PutUint32(b[batchLastOffset:], uint32(n-1))
	binary.BigEndian.PutUint64(b[batchFirstTime:], uint64(at.UnixMilli()))
	binary.BigEndian.PutUint64(b[batchMaxTime:], uint64(at.UnixMilli()))
	binary.BigEndian.PutUint64(b[batchProducerID:], ^uint64(0))
	binary.BigEndian.PutUint16(b[batchProducerID+8:], ^uint16(0))
	binary.BigEndian.PutUint32(b[batchProducerID+10:], ^uint32(0))
	binary.BigEndian.PutUint32(b[batchNumRecords:], uint32(n))
	if change != nil {
		change(b)
	}
	binary.BigEndian.PutUint32(b[batchCRC:], crc32.Checksum(b[batchAttributes:], castagnoli))
	return b
}

func newBatch(at time.Time, values ...string) []byte {
	var records []byte
	for i, v := range values {
		records = appendRecord(records, i, 0, v)
	}
	return sealBatch(at, int32(len(values)), codecNone, records, nil)
}

// compressors write what clients write with each codec.
func compressors(t testing.TB) map[uint16]func([]byte) []byte {
	t.Helper()
	stream := func(open func(*bytes.Buffer) (interface {
		Write([]byte) (int, error)
		Close() error
	}, error)) func([]byte) []byte {
		return func(p []byte) []byte {
			var out bytes.Buffer
			w, err := open(&out)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(p); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			return out.Bytes()
		}
	}
	type wc = interface {
		Write([]byte) (int, error)
		Close() error
	}
	return map[uint16]func([]byte) []byte{
		codecNone:   func(p []byte) []byte { return p },
		codecGzip:   stream(func(b *bytes.Buffer) (wc, error) { return gzip.NewWriter(b), nil }),
		codecLz4:    stream(func(b *bytes.Buffer) (wc, error) { return lz4.NewWriter(b), nil }),
		codecZstd:   stream(func(b *bytes.Buffer) (wc, error) { return zstd.NewWriter(b) }),
		codecSnappy: func(p []byte) []byte { return s2.EncodeSnappy(nil, p) },
	}
}

func testInflater(t testing.TB) *inflater {
	t.Helper()
	f, err := newInflater()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.close)
	return f
}

func TestBatchesOfAllCodecsAreTaken(t *testing.T) {
	f := testInflater(t)
	plain := appendRecord(appendRecord(nil, 0, 0, "hello"), 1, 0, "world")
	for codec, compress := range compressors(t) {
		if err := f.checkBatch(sealBatch(time.Now(), 2, codec, compress(plain), nil)); err != nil {
			t.Errorf("codec %d: %v", codec, err)
		}
	}
	block := s2.EncodeSnappy(nil, plain)
	framed := append(append([]byte{}, xerial...), 0, 0, 0, 1, 0, 0, 0, 1)
	framed = append(binary.BigEndian.AppendUint32(framed, uint32(len(block))), block...)
	if err := f.checkBatch(sealBatch(time.Now(), 2, codecSnappy, framed, nil)); err != nil {
		t.Errorf("snappy of the Java client: %v", err)
	}
}

func TestDecompressionIsBounded(t *testing.T) {
	f := testInflater(t)
	bomb := make([]byte, maxInflated+1)
	for codec, compress := range compressors(t) {
		if codec == codecNone {
			continue
		}
		b := sealBatch(time.Now(), 1, codec, compress(bomb), nil)
		if err := f.checkBatch(b); !errors.Is(err, errBatchSize) {
			t.Errorf("codec %d, %d bytes: %v", codec, len(b), err)
		}
	}
	claim := binary.AppendUvarint(nil, 1<<31) // a snappy block that promises 2 GiB
	if err := f.checkBatch(sealBatch(time.Now(), 1, codecSnappy, claim, nil)); err == nil {
		t.Error("a claim of 2 GiB was taken")
	}
}

func TestDamagedBatchesAreRefused(t *testing.T) {
	f := testInflater(t)
	good := appendRecord(nil, 0, 0, "hello")
	put32 := func(at int, v uint32) func([]byte) {
		return func(b []byte) { binary.BigEndian.PutUint32(b[at:], v) }
	}
	for name, b := range map[string][]byte{
		"empty":                 {},
		"header only":           newBatch(time.Now())[:batchHeader],
		"no records":            sealBatch(time.Now(), 0, codecNone, nil, nil),
		"negative records":      sealBatch(time.Now(), -5, codecNone, good, nil),
		"more than it has":      sealBatch(time.Now(), 2, codecNone, good, nil),
		"fewer than it has":     sealBatch(time.Now(), 1, codecNone, append(good, good...), nil),
		"length field":          sealBatch(time.Now(), 1, codecNone, good, put32(batchLength, 4)),
		"last offset":           sealBatch(time.Now(), 1, codecNone, good, put32(batchLastOffset, 9)),
		"old format":            sealBatch(time.Now(), 1, codecNone, good, func(b []byte) { b[batchMagic] = 1 }),
		"unknown codec":         sealBatch(time.Now(), 1, 5, good, nil),
		"control flag":          sealBatch(time.Now(), 1, attrControl, good, nil),
		"append time flag":      sealBatch(time.Now(), 1, attrLogAppendTime, good, nil),
		"record length too big": sealBatch(time.Now(), 1, codecNone, append(binary.AppendVarint(nil, 1<<40), good[1:]...), nil),
		"record length below 0": sealBatch(time.Now(), 1, codecNone, append(binary.AppendVarint(nil, -3), good[1:]...), nil),
		"record offset":         sealBatch(time.Now(), 1, codecNone, appendRecord(nil, 7, 0, "hello"), nil),
		"record after the last": sealBatch(time.Now(), 1, codecNone, appendRecord(nil, 0, 5, "hello"), nil),
		"times run back":        sealBatch(time.Now(), 1, codecNone, good, func(b []byte) { b[batchMaxTime] = 0x80 }),
		"headers without end":   sealBatch(time.Now(), 1, codecNone, append(binary.AppendVarint(nil, 8), 0, 0, 0, 1, 1, 0x80, 0x80, 0x40), nil),
	} {
		if err := f.checkBatch(b); !errors.Is(err, errBatch) {
			t.Errorf("%s: %v", name, err)
		}
	}
	b := newBatch(time.Now(), "hello")
	b[len(b)-1] ^= 1
	if err := f.checkBatch(b); !errors.Is(err, errBatch) {
		t.Errorf("checksum: %v", err)
	}
}

func FuzzCheckBatch(f *testing.F) {
	in := testInflater(f)
	plain := appendRecord(appendRecord(nil, 0, 0, "hello"), 1, 0, "world")
	for codec, compress := range compressors(f) {
		f.Add(uint16(codec), int32(2), compress(plain))
	}
	f.Add(uint16(0), int32(-3), []byte{0x80, 0x80})
	f.Fuzz(func(t *testing.T, attrs uint16, n int32, records []byte) {
		b := sealBatch(time.UnixMilli(1), n, attrs, records, nil)
		if err := in.checkBatch(b); err != nil {
			return
		}
		// What is taken can be decoded by kfake without a panic.
		decodeAsKfake(t, b, n)
		now := int64(1_700_000_000_000)
		stamp(b, now)
		if got := int64(binary.BigEndian.Uint64(b[batchMaxTime:])); got != now {
			t.Fatalf("stamped %d", got)
		}
		if err := in.checkBatch(b); err != nil {
			t.Fatalf("after stamping: %v", err)
		}
	})
}
