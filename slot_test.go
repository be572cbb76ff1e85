package maru

import (
	"fmt"
	"testing"
)

// The vectors of org.apache.kafka.common.utils.UtilsTest.testMurmur2: a slot is
// where every Kafka client puts the key, so the hash must be theirs bit for bit.
func TestMurmur2KnownAnswers(t *testing.T) {
	for key, want := range map[string]int32{
		"21":                         -973932308,
		"foobar":                     -790332482,
		"a-little-bit-long-string":   -985981536,
		"a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
		"abc": 479470107,
	} {
		if got := int32(murmur2(key)); got != want {
			t.Errorf("murmur2(%q) = %d, want %d", key, got, want)
		}
		if got := KeyHash(key); got != want&0x7fffffff {
			t.Errorf("KeyHash(%q) = %d, want %d", key, got, want&0x7fffffff)
		}
	}
}

func TestSlotOf(t *testing.T) {
	if got := SlotOf("a", 2); got != 0 {
		t.Errorf("key a with 2 partitions is partition %d, the contract says 0", got)
	}
	for _, n := range []int32{1, 2, 3, 16, 1024} {
		for i := range 100 {
			key := fmt.Sprint("user", i)
			if got := SlotOf(key, n); got < 0 || got >= n || got != KeyHash(key)%n {
				t.Fatalf("SlotOf(%q, %d) = %d", key, n, got)
			}
		}
	}
}

func TestHeaderIsTheFirstOfItsName(t *testing.T) {
	r := LogRecord{Headers: []Header{{"a", []byte("1")}, {"b", []byte("2")}, {"b", []byte("3")}, {"empty", []byte{}}}}
	if got := string(r.Header("b")); got != "2" {
		t.Errorf("Header(b) = %q", got)
	}
	if r.Header("c") != nil {
		t.Error("a header that is not there has a value")
	}
	if r.Header("empty") == nil {
		t.Error("an empty header cannot be told from none")
	}
}
