package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"runtime"

	"maru/auth"
)

// errNotRemembered: the memory of passwords does not know one that it was given.
var errNotRemembered = errors.New("a remembered password is not known")

// hashes measures password hashes on all processors and nothing else.
func (c *Config) hashes(ctx context.Context) (Result, error) {
	hasher, err := auth.NewHasher(c.Params)
	if err != nil {
		return Result{}, err
	}
	password, dummy := []byte("correct horse battery staple"), hasher.Dummy()
	return c.run(ctx, part{
		name: PartHash, senders: runtime.GOMAXPROCS(0), length: c.For, timed: true,
		op: func(context.Context, int, int64) (int, error) {
			_, err := hasher.Verify(dummy, password)
			return 1, err
		},
	})
}

// checksAtOnce is how many checks are made between two looks at the clock: one
// look takes a tenth of a check.
const checksAtOnce = 256

// remembered measures the check of a remembered password, over as many users as
// the run has.
func (c *Config) remembered(ctx context.Context) (Result, error) {
	memory := auth.NewRemembered(c.Users)
	people := newPeople(c.Users)
	for i := range people {
		memory.Add(people[i].id, 1, people[i].password)
	}
	return c.run(ctx, part{
		name: PartRemembered, senders: runtime.GOMAXPROCS(0), length: c.For,
		op: func(_ context.Context, _ int, n int64) (int, error) {
			for i := range int64(checksAtOnce) {
				p := &people[(n*checksAtOnce+i)%int64(len(people))]
				if !memory.Check(p.id, 1, p.password) {
					return 0, errNotRemembered
				}
			}
			return checksAtOnce, nil
		},
	})
}

// sealing measures what hides a password on its way through the log: sealing it,
// as a gateway does, and opening it, as a home does.
func (c *Config) sealing(ctx context.Context) (Result, error) {
	sealer, err := auth.NewSealer(auth.NewSecret())
	if err != nil {
		return Result{}, err
	}
	people := newPeople(1)
	return c.run(ctx, part{
		name: PartSeal, senders: runtime.GOMAXPROCS(0), length: c.For, timed: true,
		op: func(context.Context, int, int64) (int, error) {
			sealed, err := sealer.Seal(people[0].id, "id", people[0].password)
			if err == nil {
				_, err = sealer.Open(people[0].id, "id", sealed)
			}
			return 1, err
		},
	})
}

// syncs measures the disk: one record appended and synced at a time.
func (c *Config) syncs(ctx context.Context, dir string) (Result, error) {
	f, err := os.CreateTemp(dir, "sync-*")
	if err != nil {
		return Result{}, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	block := make([]byte, sizeRequest)
	return c.run(ctx, part{
		name: PartSync, senders: 1, length: c.For, timed: true,
		op: func(context.Context, int, int64) (int, error) {
			if _, err := f.Write(block); err != nil {
				return 0, err
			}
			return 1, f.Sync()
		},
	})
}

// person is an account of the run.
type person struct {
	id       string
	password []byte
}

// newPeople returns n people whose ids no other run has.
func newPeople(n int) []person {
	run := fmt.Sprintf("%x", randomBytes(5))
	people := make([]person, n)
	for i := range people {
		people[i] = person{fmt.Sprintf("bench-%s-%d", run, i), fmt.Appendf(nil, "%s%d", rand.Text(), i)}
	}
	return people
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}
