// Package record defines what is on every topic: one struct per kind of record,
// encoded as JSON so that operators can read topics with Kafka's own tools.
//
// The package owns the formats and nothing else. The login pair is fixed by
// programs outside of this project; everything else is maru's own and carries a
// version. testdata holds one golden file per kind: a format that changes by
// accident fails its test.
package record

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// MaxSize bounds every record that maru writes, in bytes of its value.
const MaxSize = 512 << 10

// Encode returns the JSON of v as it goes into a record: on one line, and with
// <, > and & as they are, since consumers compare bytes.
func Encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// MustEncode is Encode for the record types of this package, which always have
// an encoding: their fields are strings, numbers, booleans and raw JSON that was
// made by Encode.
func MustEncode(v any) []byte {
	b, err := Encode(v)
	if err != nil {
		panic(err)
	}
	return b
}
