package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"maru"
	"maru/home"
	"maru/kafka"
)

const testSlots = 4

// stuckStore writes no checkpoints of one slot while it is stuck.
type stuckStore struct {
	home.Store
	slot int32
	on   *atomic.Bool
}

func (s stuckStore) Checkpoint(ctx context.Context, c *maru.Checkpoint) error {
	if s.on.Load() && c.Slot == s.slot {
		return errors.New("the test lets no checkpoint through")
	}
	return s.Store.Checkpoint(ctx, c)
}

// installation is one process on a directory, which can be started again.
type installation struct {
	t     *testing.T
	cfg   Config
	node  *Node
	token map[string]string
}

func install(t *testing.T) *installation {
	s := Defaults()
	s.Data, s.Listen, s.KafkaListen, s.Partitions = t.TempDir(), "127.0.0.1:0", "", testSlots
	s.PasswordMemory, s.PasswordTime = 64, 1
	s.FailedLogins.N, s.Registrations.N = -1, -1
	w := io.Discard
	if testing.Verbose() {
		w = t.Output()
	}
	return &installation{t: t, token: map[string]string{}, cfg: Config{
		Settings: s, Logger: slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Seams: Seams{NoAdmin: true, NoSync: true},
	}}
}

func (i *installation) start() {
	i.t.Helper()
	n, err := Start(i.t.Context(), i.cfg)
	if err != nil {
		i.t.Fatal(err)
	}
	i.node = n
	i.t.Cleanup(func() { n.Crash() })
}

func (i *installation) stop() {
	i.t.Helper()
	if err := i.node.Close(i.t.Context()); err != nil {
		i.t.Fatal(err)
	}
}

// refused returns why the installation does not start.
func (i *installation) refused() error {
	i.t.Helper()
	n, err := Start(i.t.Context(), i.cfg)
	if err != nil {
		return err
	}
	defer n.Crash()
	select {
	case <-n.Dead():
		return n.Err()
	case <-time.After(30 * time.Second):
		i.t.Fatal("it starts")
		return nil
	}
}

func (i *installation) repair(dryRun bool) []Mended {
	i.t.Helper()
	mended, err := Repair(i.t.Context(), i.cfg, dryRun)
	if err != nil {
		i.t.Fatal(err)
	}
	return mended
}

// do sends a request and returns the status; 0 when there was no answer in time.
func (i *installation) do(ctx context.Context, method, path, user string, body, answer any) int {
	i.t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		i.t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://"+i.node.Addr().String()+path, bytes.NewReader(b))
	if err != nil {
		i.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+i.token[user])
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(r)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	if answer != nil {
		if err := json.NewDecoder(resp.Body).Decode(answer); err != nil {
			i.t.Fatal(err)
		}
	}
	return resp.StatusCode
}

// people registers and signs in n users of each slot.
func (i *installation) people(n int) (ids []string) {
	i.t.Helper()
	for k := 0; len(ids) < n*testSlots; k++ {
		id := fmt.Sprintf("user%d", k)
		if maru.SlotOf(id, testSlots) != int32(len(ids)%testSlots) {
			continue
		}
		ids = append(ids, id)
		body := map[string]string{"userId": id, "userPw": "a good password"}
		if s := i.do(i.t.Context(), "POST", "/api/users", "", body, nil); s != http.StatusCreated {
			i.t.Fatalf("registering %s: %d", id, s)
		}
		var login struct{ Token string }
		if s := i.do(i.t.Context(), "POST", "/api/login", "", body, &login); s != http.StatusOK {
			i.t.Fatalf("login of %s: %d", id, s)
		}
		i.token[id] = login.Token
	}
	return ids
}

func (i *installation) allBecomeFriends(ids []string) {
	i.t.Helper()
	for _, u := range ids {
		for _, f := range ids {
			if u == f {
				continue
			}
			if s := i.do(i.t.Context(), "PUT", "/api/friends/"+f, u, struct{}{}, nil); s != http.StatusNoContent {
				i.t.Fatalf("%s adds %s: %d", u, f, s)
			}
		}
	}
	for _, u := range ids {
		var me struct{ AddedBy int }
		if i.do(i.t.Context(), "GET", "/api/me", u, nil, &me); me.AddedBy != len(ids)-1 {
			i.t.Errorf("%s is a friend of %d, want %d", u, me.AddedBy, len(ids)-1)
		}
	}
}

// cutLog halves the log of one slot.
func (i *installation) cutLog(slot int32) {
	i.t.Helper()
	n := 0
	err := filepath.WalkDir(filepath.Join(i.cfg.Data, "log"), func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.Contains(path, fmt.Sprintf("commands-%d", slot)) {
			return err
		}
		info, err := e.Info()
		if err != nil || info.Size() == 0 {
			return err
		}
		n++
		return os.Truncate(path, info.Size()/2)
	})
	if err != nil || n == 0 {
		i.t.Fatalf("%d files cut: %v", n, err)
	}
}

// A log lost its tail, and with it commands of other slots that its checkpoint did
// not have yet. After the repair every slot hears every other.
func TestRepairOfStreams(t *testing.T) {
	const lame = 1
	i := install(t)
	var stuck atomic.Bool
	i.cfg.Seams.WrapStore = func(s home.Store) home.Store { return stuckStore{s, lame, &stuck} }
	i.start()
	ids := i.people(2)
	var target string
	for _, id := range ids {
		if maru.SlotOf(id, testSlots) == lame {
			target = id
		}
	}
	// Its log has to be cut behind the checkpoint for anybody to see that it was.
	for k := range 10 {
		if s := i.do(t.Context(), "PATCH", "/api/me", target, map[string]string{"userStatus": fmt.Sprint(k)}, nil); s != http.StatusOK {
			t.Fatal(s)
		}
	}
	time.Sleep(time.Second) // for checkpoints
	stuck.Store(true)
	for _, id := range ids {
		if id != target {
			if s := i.do(t.Context(), "PUT", "/api/friends/"+target, id, struct{}{}, nil); s != http.StatusNoContent {
				t.Fatalf("%s adds %s: %d", id, target, s)
			}
		}
	}
	time.Sleep(time.Second)
	i.stop()
	stuck.Store(false)
	i.cutLog(lame)

	var shorter *kafka.ErrLogShorter
	if err := i.refused(); !errors.As(err, &shorter) || shorter.Partition != lame {
		t.Fatalf("refused with %v", err)
	}
	for _, dry := range []bool{true, true, false} {
		if mended := i.repair(dry); len(mended) != 1 || mended[0].Slot != lame || mended[0].Next >= mended[0].Checkpoint {
			t.Errorf("mended %+v", mended)
		}
	}
	if again := i.repair(false); len(again) > 0 {
		t.Errorf("a second repair does %+v", again)
	}
	i.start()
	i.allBecomeFriends(ids)
	i.stop()
}

// Another log with the same names is refused whatever its offsets, until a repair.
func TestRepairOfAnotherLog(t *testing.T) {
	i := install(t)
	i.start()
	ids := i.people(1)
	time.Sleep(time.Second)
	i.stop()
	other := install(t) // whose log is longer
	other.start()
	other.people(4)
	other.stop()
	log := filepath.Join(i.cfg.Data, "log")
	if err := os.RemoveAll(log); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(log, os.DirFS(filepath.Join(other.cfg.Data, "log"))); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		var replaced *kafka.ErrLogReplaced
		if err := i.refused(); !errors.As(err, &replaced) || !strings.Contains(err.Error(), "maru repair") {
			t.Fatalf("refused with %v", err)
		}
		i.repair(true)
	}
	for _, m := range i.repair(false) {
		if m.Next != 0 || m.Lost != 0 {
			t.Errorf("mended %+v, want the whole of the other log read", m)
		}
	}
	i.start()
	i.allBecomeFriends(ids)
	i.stop()
}
