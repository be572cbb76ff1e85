package home

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"maru"
	"maru/auth"
	"maru/record"
)

var discard = slog.New(slog.DiscardHandler)

// instant is a log and a store that cost nothing: every record is acknowledged at
// once, and every user that is asked for exists and has the same password. What goes
// to commands is read back.
type instant struct {
	home    *Home
	lease   Lease
	hash    string
	answers atomic.Int64 // records of login-response
	saved   atomic.Int64

	mu   sync.Mutex
	next int64 // end of commands
}

func (i *instant) Claim(_ context.Context, r maru.ClaimRequest) (maru.Claim, error) {
	return maru.Claim{Slot: r.Slot, Epoch: 1, LoginNext: -1}, nil
}

func (i *instant) LoadUsers(_ context.Context, _ int32, _ int64, ids []string) (rows []maru.UserRow, _ error) {
	for _, id := range ids {
		rows = append(rows, maru.UserRow{UserID: id, Registered: true, Password: i.hash, CredentialVersion: 1})
	}
	return rows, nil
}

func (i *instant) Checkpoint(_ context.Context, c *maru.Checkpoint) error {
	i.saved.Store(c.Next)
	return nil
}

func (i *instant) Produce(r maru.LogRecord, done func(int64, error)) {
	switch r.Topic {
	case topics.LoginResponse:
		i.answers.Add(1)
	case topics.Commands:
		i.put(r)
	}
	done(0, nil)
}

func (i *instant) put(recs ...maru.LogRecord) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for n := range recs {
		recs[n].Topic, recs[n].Offset, recs[n].Time = topics.Commands, i.next, time.Now().UnixMilli()
		i.next++
	}
	i.home.Records(i.lease, recs)
}

func (i *instant) Drop(_ Lease, why error) { panic(why) }
func (i *instant) Pause(Lease, string)     {}
func (i *instant) Resume(Lease, string)    {}
func (i *instant) CommitLogin(int32, int64) {
}

// newInstant returns a home that serves one slot of one.
func newInstant(b *testing.B, c *checker, password string) *instant {
	i := &instant{lease: Lease{Serial: 1}, hash: c.hash(password)}
	i.home = New(Config{
		Name: "h", Topics: topics, Partitions: 1, Delivery: 1, Store: i, Log: i, Checker: c.Checker,
		Logger: discard,
	})
	i.home.Start(i)
	if _, err := i.home.Claim(b.Context(), i.lease, 1, false); err != nil {
		b.Fatal(err)
	}
	i.home.Serve(i.lease, 0, 0)
	b.Cleanup(func() {
		i.home.Release([]Lease{i.lease}, false)
		i.home.Close(context.Background())
	})
	return i
}

// BenchmarkSlot is the limit of one slot when log and store cost nothing: records
// read, applied, published and saved.
func BenchmarkSlot(b *testing.B) {
	c := newChecker(b, cheap, 1, 10)
	for name, kind := range map[string]func(n int) record.Command{
		"ask": func(n int) record.Command {
			return record.Command{Kind: record.Ask, Ask: &record.AskBody{What: record.AskUsers, Users: []string{user(n % 1000)}}}
		},
		"login": func(n int) record.Command {
			return record.Command{Kind: record.LoginChecked, User: user(n % 100_000), LoginChecked: &record.LoginCheckedBody{
				Result: record.LoginOK, Requested: user(n % 100_000), Version: 1, Session: true, Offset: int64(n),
			}}
		},
	} {
		b.Run(name, func(b *testing.B) {
			i := newInstant(b, c, "pw")
			recs := make([]maru.LogRecord, b.N)
			for n := range recs {
				c := kind(n)
				c.V, c.ID, c.Reply = record.Version, maru.NewCommandID(), &record.Address{Gateway: "g"}
				recs[n] = maru.LogRecord{Key: []byte(c.User), Value: record.MustEncode(c)}
			}
			runtime.GC()
			b.ResetTimer()
			for len(recs) > 0 {
				n := min(len(recs), 1000)
				i.put(recs[:n]...)
				recs = recs[n:]
			}
			for i.saved.Load() < int64(b.N) {
				time.Sleep(time.Millisecond)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
		})
	}
}

func user(n int) string { return fmt.Sprint("user", n) }

// logins sends one request for each user and waits for all answers; at most window
// are under way.
func (i *instant) logins(b *testing.B, requests []maru.LogRecord, window int) {
	start := i.answers.Load()
	for sent := 0; i.answers.Load()-start < int64(len(requests)); {
		n := min(len(requests)-sent, window-(sent-int(i.answers.Load()-start)))
		if n <= 0 {
			runtime.Gosched()
			time.Sleep(100 * time.Microsecond)
			continue
		}
		i.home.Records(i.lease, requests[sent:sent+n])
		sent += n
	}
}

// requests makes sealed requests as gateways do, with offsets from first on.
func (c *checker) requests(b *testing.B, first, n, users int, password string) []maru.LogRecord {
	recs := make([]maru.LogRecord, n)
	for i := range recs {
		id, user := maru.NewCommandID(), user((first+i)%users)
		claims, err := c.keys.claims.Sign(user, id.String(), record.MustEncode(record.LoginClaims{Reply: record.Address{Gateway: "g"}}))
		if err != nil {
			b.Fatal(err)
		}
		recs[i] = maru.LogRecord{
			Topic: topics.LoginRequest, Offset: int64(first + i), Key: []byte(user),
			Value: record.MustEncode(record.LoginRequest{UserID: user, SealedPw: c.seal(user, id.String(), password)}),
			Headers: []maru.Header{
				{Key: record.HeaderID, Value: []byte(id.String())}, {Key: record.HeaderClaims, Value: []byte(claims)},
			},
		}
	}
	return recs
}

// BenchmarkColdLogins compares logins through a slot with the same argon2 hashes and
// nothing else on the same processors, in turns, so that both meet the same weather.
func BenchmarkColdLogins(b *testing.B) {
	workers := runtime.GOMAXPROCS(0)
	c := newChecker(b, auth.DefaultParams(), workers, 1<<20)
	i := newInstant(b, c, "password")
	const round = 32
	var through, alone time.Duration
	total := 0
	for b.Loop() {
		reqs := c.requests(b, total, round, 1<<30, "password")
		start := time.Now()
		i.logins(b, reqs, round)
		through += time.Since(start)
		start = time.Now()
		var wg sync.WaitGroup
		for range workers {
			wg.Go(func() {
				for range round / workers {
					if ok, err := c.keys.hasher.Verify(i.hash, []byte("password")); !ok || err != nil {
						b.Error("not verified", err)
					}
				}
			})
		}
		wg.Wait()
		alone += time.Since(start)
		total += round
	}
	b.ReportMetric(float64(total)/through.Seconds(), "logins/s")
	b.ReportMetric(float64(total/workers*workers)/alone.Seconds(), "argon2/s")
	b.ReportMetric(100*alone.Seconds()/through.Seconds(), "%-of-argon2")
}

// BenchmarkWarmLogins are logins through a slot whose passwords are remembered.
func BenchmarkWarmLogins(b *testing.B) {
	c := newChecker(b, cheap, 0, 1<<20)
	i := newInstant(b, c, "password")
	const users = 1000
	i.logins(b, c.requests(b, 0, users, users, "password"), 32)
	reqs := c.requests(b, users, b.N, users, "password")
	hashes := c.keys.pool.Stats().Done
	b.ResetTimer()
	i.logins(b, reqs, 1000)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "logins/s")
	if n := c.keys.pool.Stats().Done - hashes; n > 0 {
		b.Errorf("%d passwords were hashed", n)
	}
}

// BenchmarkRemembered is the check of a remembered password by the Checker.
func BenchmarkRemembered(b *testing.B) {
	c := newChecker(b, cheap, 1, 10)
	hash := c.hash("password")
	for name, sealed := range map[string]string{"plain": "", "sealed": c.seal("a", "1", "password")} {
		b.Run(name, func(b *testing.B) {
			p := Password{User: "a", Hash: hash, Version: 1, Sealed: sealed, SealedFor: "1"}
			if v := c.verdict(Password{User: "a", Plain: []byte("password"), Hash: hash, Version: 1}); v != Right {
				b.Fatal("verdict", v)
			}
			done := make(chan Verdict, 4096)
			under := 0
			finish := func() {
				if v := <-done; v != Right {
					b.Fatal("verdict", v)
				}
				under--
			}
			for b.Loop() {
				if under == 1000 {
					finish()
				}
				q := p
				if sealed == "" {
					q.Plain = []byte("password")
				}
				c.Check(context.Background(), q, func(v Verdict) { done <- v })
				under++
			}
			for under > 0 {
				finish()
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "checks/s")
		})
	}
}
