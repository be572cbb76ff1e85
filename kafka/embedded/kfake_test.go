package embedded

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// decodeAsKfake reads a batch the way kfake does when it looks up a timestamp.
func decodeAsKfake(t *testing.T, b []byte, n int32) {
	t.Helper()
	var rb kmsg.RecordBatch
	if err := rb.ReadFrom(b); err != nil {
		t.Fatalf("kfake cannot read the batch: %v", err)
	}
	records, err := kfake.BatchRecords(rb)
	if err != nil || len(records) != int(n) {
		t.Fatalf("kfake reads %d records of %d: %v", len(records), n, err)
	}
}
