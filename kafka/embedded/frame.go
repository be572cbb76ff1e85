package embedded

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The beginning of every request: size, API key, API version, correlation id
// (Kafka protocol guide, "Request Header"). The size does not count itself.
const (
	sizeBytes    = 4
	frameHeader  = sizeBytes + 8
	frameKey     = 4
	frameVersion = 6
	frameCorr    = 8
)

var errFrame = errors.New("malformed request")

// frame is one whole request as it came, size included.
type frame []byte

func (f frame) key() int16     { return int16(binary.BigEndian.Uint16(f[frameKey:])) }
func (f frame) version() int16 { return int16(binary.BigEndian.Uint16(f[frameVersion:])) }
func (f frame) corr() int32    { return int32(binary.BigEndian.Uint32(f[frameCorr:])) }

// peekFrame waits for the header of the next request and returns it without
// consuming it, and the size of the whole request.
func peekFrame(r *bufio.Reader) (frame, int, error) {
	head, err := r.Peek(frameHeader)
	if err != nil {
		return nil, 0, err
	}
	size := int64(binary.BigEndian.Uint32(head)) + sizeBytes
	if size < frameHeader || size > 1<<31-1 {
		return nil, 0, fmt.Errorf("%w: size %d", errFrame, size)
	}
	return frame(head), int(size), nil
}

// readFrame reads a request of size bytes. Memory grows with what has arrived,
// not with what the size field promises.
func readFrame(r io.Reader, size int) (frame, error) {
	const step = 64 << 10
	f := make(frame, 0, min(size, step))
	for len(f) < size {
		n := min(size-len(f), max(step, len(f)))
		f = append(f, make(frame, n)...)
		if _, err := io.ReadFull(r, f[len(f)-n:]); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// request is a decoded frame.
type request struct {
	kmsg.Request
	corr     int32
	clientID *string
}

// decode parses a frame. kmsg is written for answers of brokers one trusts. A
// panic in it is the sender's fault here and ends only its connection; a count of
// tags beyond what follows keeps it busy for seconds, so gates decode few
// requests from outside at a time.
func decode(f frame) (req request, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errFrame, p)
		}
	}()
	r := kbin.Reader{Src: f[frameHeader:]}
	req = request{Request: kmsg.RequestForKey(f.key()), corr: f.corr(), clientID: r.NullableString()}
	if req.Request == nil {
		return req, fmt.Errorf("%w: unknown API key %d", errFrame, f.key())
	}
	req.SetVersion(f.version())
	if req.IsFlexible() {
		// Header tags have no meaning yet. Not by kmsg.SkipTags, which counts
		// down from four billion when told so.
		for n := r.Uvarint(); n > 0 && r.Ok(); n-- {
			r.Uvarint()
			r.Span(int(r.Uvarint()))
		}
	}
	if err := r.Complete(); err != nil {
		return req, fmt.Errorf("%w: header: %w", errFrame, err)
	}
	if err := req.ReadFrom(r.Src); err != nil {
		return req, fmt.Errorf("%w: %s version %d: %w", errFrame, kmsg.NameForKey(f.key()), f.version(), err)
	}
	return req, nil
}

// encode writes a request anew, so that kfake reads exactly what was checked.
func (r request) encode() frame {
	f := make(frame, frameHeader, 256)
	binary.BigEndian.PutUint16(f[frameKey:], uint16(r.Key()))
	binary.BigEndian.PutUint16(f[frameVersion:], uint16(r.GetVersion()))
	binary.BigEndian.PutUint32(f[frameCorr:], uint32(r.corr))
	f = kbin.AppendNullableString(f, r.clientID)
	if r.IsFlexible() {
		f = append(f, 0) // no tags
	}
	f = r.AppendTo(f)
	binary.BigEndian.PutUint32(f, uint32(len(f)-sizeBytes))
	return f
}

// responseHeader is the size of what precedes the body of a response. Responses
// to ApiVersions have the old header in every version (KIP-511).
func responseHeader(resp kmsg.Response) int {
	if resp.IsFlexible() && resp.Key() != int16(kmsg.ApiVersions) {
		return sizeBytes + 4 + 1
	}
	return sizeBytes + 4
}

// encodeResponse writes the answer to the request with the given correlation id.
func encodeResponse(corr int32, resp kmsg.Response) []byte {
	b := make([]byte, responseHeader(resp), 256)
	binary.BigEndian.PutUint32(b[sizeBytes:], uint32(corr))
	b = resp.AppendTo(b)
	binary.BigEndian.PutUint32(b, uint32(len(b)-sizeBytes))
	return b
}

// decodeResponse reads kfake's answer to req.
func decodeResponse(b []byte, req kmsg.Request) (kmsg.Response, error) {
	resp := req.ResponseKind()
	n := responseHeader(resp)
	if len(b) < n {
		return nil, fmt.Errorf("%s: answer of %d bytes", kmsg.NameForKey(req.Key()), len(b))
	}
	if err := resp.ReadFrom(b[n:]); err != nil {
		return nil, fmt.Errorf("%s: read the answer: %w", kmsg.NameForKey(req.Key()), err)
	}
	return resp, nil
}
