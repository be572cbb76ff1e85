package soak

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"maru/node"
)

// A log that lost its newest records is refused with a sentence that names the
// remedy, and the remedy keeps all that the database has.
func TestRepair(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, log, older string){
		"gone":  func(t *testing.T, log, _ string) { remove(t, log) },
		"older": func(t *testing.T, log, older string) { remove(t, log); copyTree(t, older, log) },
		"short": func(t *testing.T, log, _ string) { truncateCommands(t, log) },
	} {
		t.Run(name, func(t *testing.T) {
			data, older := t.TempDir(), filepath.Join(t.TempDir(), "older")
			log := filepath.Join(data, "log")
			m := newServer(t, data)
			m.start()
			w := newTown(t, 6, m.url())
			m.terminate()
			copyTree(t, log, older)
			m.start()
			for _, p := range w.everybody() {
				for range 10 {
					p.act(w.everybody())
				}
			}
			m.terminate()

			damage(t, log, older)
			refusesAndRepairs(t, m, data)
			m.start()
			w.inspect(6)
			for _, p := range w.everybody() {
				for range 10 {
					p.act(w.everybody())
				}
			}
			m.kill()
			m.start()
			w.inspect(6)
			w.mustHold()
			m.terminate()
		})
	}
}

// refusesAndRepairs checks that maru does not start, that looking changes nothing,
// and mends the log.
func refusesAndRepairs(t *testing.T, m *machine, data string) {
	t.Helper()
	repair := func(args ...string) (mended []node.Mended) {
		t.Helper()
		status, out := run(t, append([]string{"repair", "--json", "--data", data}, args...)...)
		if status != 0 || json.Unmarshal([]byte(out), &mended) != nil {
			t.Fatalf("maru repair: status %d\n%s", status, out)
		}
		return mended
	}
	for range 2 {
		if says := m.refused(); !strings.Contains(says, "maru repair") {
			t.Fatalf("a start without the log says\n%s", says)
		}
		if found := repair("--dry-run"); len(found) == 0 {
			t.Fatal("maru repair --dry-run finds nothing")
		}
	}
	shown, done := repair("--dry-run"), repair()
	if len(shown) != len(done) {
		t.Errorf("--dry-run shows %v, done was %v", shown, done)
	}
	if again := repair(); len(again) > 0 {
		t.Errorf("a second repair does %v", again)
	}
}

func remove(t *testing.T, dir string) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
}

func copyTree(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// truncateCommands cuts the newest half of every file of the log of commands.
func truncateCommands(t *testing.T, log string) {
	t.Helper()
	n := 0
	err := filepath.WalkDir(log, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.Contains(path, "commands") {
			return err
		}
		info, err := e.Info()
		if err != nil || info.Size() == 0 {
			return err
		}
		n++
		return os.Truncate(path, info.Size()/2)
	})
	if err != nil {
		t.Fatal(err)
	}
	if n == 0 {
		t.Fatalf("no files of commands in %s", log)
	}
}
