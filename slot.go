package maru

import "encoding/binary"

// KeyHash is the 31-bit hash of a record key by which Kafka's own partitioner
// places it: murmur2(key) & 0x7fffffff (org.apache.kafka.common.utils.Utils and
// BuiltInPartitioner). Rows carry this hash, so that the slot of an entity
// follows from its row for any number of partitions.
func KeyHash(key string) int32 { return int32(murmur2(key) & 0x7fffffff) }

// SlotOf returns the slot of the entity with this key among n partitions: the
// partition to which every Kafka client with the default partitioner sends it.
func SlotOf(key string, n int32) int32 { return KeyHash(key) % n }

// murmur2 is the 32-bit MurmurHash2 of Austin Appleby with the seed that Kafka uses.
func murmur2(key string) uint32 {
	const (
		seed = 0x9747b28c
		m    = 0x5bd1e995
		r    = 24
	)
	b := []byte(key)
	h := seed ^ uint32(len(b))
	for ; len(b) >= 4; b = b[4:] {
		k := binary.LittleEndian.Uint32(b) * m
		h = h*m ^ (k^k>>r)*m
	}
	switch len(b) {
	case 3:
		h ^= uint32(b[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(b[1]) << 8
		fallthrough
	case 1:
		h = (h ^ uint32(b[0])) * m
	}
	h = (h ^ h>>13) * m
	return h ^ h>>15
}
