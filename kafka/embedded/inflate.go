package embedded

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// The codecs of a record batch (Kafka protocol guide, "Record Batch").
const (
	codecNone = iota
	codecGzip
	codecSnappy
	codecLz4
	codecZstd
)

// xerial is the frame that the Java client puts around snappy blocks: a magic,
// two version numbers of four bytes, then blocks with their length before them.
var xerial = []byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0}

const xerialHeader = 16

// inflater decompresses batches from outside and bounds what comes out. The
// decompressor of the Kafka client has no public bound below 2 GiB. It is safe
// for concurrent use; each broker has its own, because a decoder holds channels,
// which must not be shared between synctest bubbles.
type inflater struct{ zstd *zstd.Decoder }

func newInflater() (*inflater, error) {
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(2), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(maxInflated))
	if err != nil {
		return nil, fmt.Errorf("prepare zstd: %w", err)
	}
	return &inflater{zstd: z}, nil
}

func (f *inflater) close() { f.zstd.Close() }

// inflate returns at most maxInflated bytes or an error; without a codec, src.
func (f *inflater) inflate(src []byte, codec int) ([]byte, error) {
	switch codec {
	case codecNone:
		return src, nil
	case codecGzip:
		r, err := gzip.NewReader(bytes.NewReader(src))
		if err != nil {
			return nil, fmt.Errorf("%w: gzip: %w", errBatch, err)
		}
		return drain(r)
	case codecSnappy:
		return unsnappy(src)
	case codecLz4:
		return drain(lz4.NewReader(bytes.NewReader(src)))
	case codecZstd:
		out, err := f.zstd.DecodeAll(src, nil)
		if errors.Is(err, zstd.ErrDecoderSizeExceeded) || errors.Is(err, zstd.ErrWindowSizeExceeded) {
			return nil, errBatchSize
		}
		if err != nil {
			return nil, fmt.Errorf("%w: zstd: %w", errBatch, err)
		}
		return out, nil
	}
	return nil, fmt.Errorf("%w: unknown codec %d", errBatch, codec)
}

func drain(r io.Reader) ([]byte, error) {
	out, err := io.ReadAll(io.LimitReader(r, maxInflated+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errBatch, err)
	}
	if len(out) > maxInflated {
		return nil, errBatchSize
	}
	return out, nil
}

// unsnappy decodes a snappy block, or the blocks of a xerial frame.
func unsnappy(src []byte) ([]byte, error) {
	if !bytes.HasPrefix(src, xerial) || len(src) <= xerialHeader {
		return unsnappyBlock(nil, src)
	}
	var out []byte
	for rest := src[xerialHeader:]; len(rest) > 0; {
		if len(rest) < 4 {
			return nil, fmt.Errorf("%w: snappy frame", errBatch)
		}
		size := int64(binary.BigEndian.Uint32(rest))
		rest = rest[4:]
		if size > int64(len(rest)) {
			return nil, fmt.Errorf("%w: snappy frame", errBatch)
		}
		var err error
		if out, err = unsnappyBlock(out, rest[:size]); err != nil {
			return nil, err
		}
		rest = rest[size:]
	}
	return out, nil
}

// unsnappyBlock appends a decoded block to dst. A block names its size, which is
// checked before anything is allocated.
func unsnappyBlock(dst, block []byte) ([]byte, error) {
	n, err := s2.DecodedLen(block)
	if err != nil {
		return nil, fmt.Errorf("%w: snappy: %w", errBatch, err)
	}
	if n > maxInflated-len(dst) {
		return nil, errBatchSize
	}
	out, err := s2.Decode(nil, block)
	if err != nil {
		return nil, fmt.Errorf("%w: snappy: %w", errBatch, err)
	}
	if dst == nil {
		return out, nil
	}
	return append(dst, out...), nil
}
