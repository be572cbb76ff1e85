package store_test

import (
	"path/filepath"
	"testing"

	"maru/store/storetest"
)

func TestSQLite(t *testing.T) { storetest.Run(t, freshSQLite) }

func freshSQLite(t *testing.T) string { return filepath.Join(t.TempDir(), "ma ru?%23#&.db") }
