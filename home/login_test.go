package home

import "maru"

// request puts a value on the slot's partition of login-request.
func (r *rig) request(key, value string, headers ...maru.Header) int64 {
	rec := maru.LogRecord{Topic: topics.LoginRequest, Partition: mySlot, Value: []byte(value), Headers: headers}
	if key != "" {
		rec.Key = []byte(key)
	}
	offset, _ := r.log.append(rec, nil)
	return offset
}
