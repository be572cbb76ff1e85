package maru

// LogRecord is one record of the log as homes and gateways see it, whatever
// client brought it. Records that were read are immutable.
type LogRecord struct {
	Topic     string
	Partition int32
	Offset    int64 // of records read
	Time      int64 // milliseconds since the epoch; the broker's clock under LogAppendTime
	Key       []byte
	Value     []byte
	Headers   []Header
}

// Header is one header of a record.
type Header struct {
	Key   string
	Value []byte
}

// Header returns the value of the first header named key, nil when there is none.
func (r *LogRecord) Header(key string) []byte {
	for i := range r.Headers {
		if r.Headers[i].Key == key {
			return r.Headers[i].Value
		}
	}
	return nil
}
