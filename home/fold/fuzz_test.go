package fold

import (
	"bytes"
	"encoding/binary"
	"maps"
	"slices"
	"testing"

	"maru/record"
)

func FuzzApply(f *testing.F) {
	d := newDriver(f, 1)
	d.run(12)
	for _, n := range d.nodes[:2] {
		f.Add(join(n.values))
	}
	f.Add(join([][]byte{[]byte(`{"v":1,"kind":"ask","ask":{"what":"users","users":["a","a","?"]}}`), []byte("{}"), nil}))
	f.Fuzz(func(t *testing.T, b []byte) {
		first, again := foldBytes(b), foldBytes(b)
		if first != again {
			t.Fatalf("two outcomes:\n%s\n%s", first, again)
		}
	})
}

// join writes records one after the other, each with its time and length in front.
func join(values [][]byte) (b []byte) {
	for i, v := range values {
		b = binary.AppendVarint(b, int64(i)*1000)
		b = binary.AppendUvarint(b, uint64(len(v)))
		b = append(b, v...)
	}
	return b
}

// foldBytes applies what join wrote, or anything else, and returns what came of it.
func foldBytes(b []byte) string {
	var out bytes.Buffer
	n := &node{State: New(1, slots, gateways)}
	for offset := int64(0); len(b) > 0; offset++ {
		at, k := binary.Varint(b)
		if k <= 0 {
			break
		}
		b = b[k:]
		size, k := binary.Uvarint(b)
		if k <= 0 {
			break
		}
		b = b[k:]
		size = min(size, uint64(len(b)))
		c, _ := record.ParseCommand(b[:size])
		b = b[size:]
		n.resident(c)
		e := n.Apply(Input{Offset: offset, Time: at, Command: c})
		out.WriteString(e.digest())
	}
	rows := n.table()
	for _, id := range slices.Sorted(maps.Keys(rows)) {
		out.WriteString(rows[id])
	}
	return out.String()
}
