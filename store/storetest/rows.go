package storetest

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"maru"
	"maru/store"
)

// Numbers of rows around every size of statement, and 1,000 users in one load.
func manyRows(t *testing.T, dsn string) {
	s := open(t, dsn, nil)
	c := claim(t, s, 0)
	next := int64(0)
	for _, n := range []int{1, 2, 3, 63, 64, 65, 255, 256, 257, 1000} {
		var cp maru.Checkpoint
		want := make([]maru.UserRow, n)
		ids := make([]string, n)
		for i := range want {
			id := fmt.Sprintf("user-%04d-%04d", n, i)
			ids[i], want[i] = id, User(id)
			want[i].AddedBy = int64(i)
			cp.Users = append(cp.Users, want[i])
			for f := range i % 3 {
				row := maru.FriendRow{UserID: id, FriendID: fmt.Sprint("friend", f), Alias: fmt.Sprint(i), AddedAt: int64(i)}
				want[i].Friends = append(want[i].Friends, row)
				cp.Friends = append(cp.Friends, row)
			}
		}
		next++
		cp.Epoch, cp.Next = c.Epoch, next
		write(t, s, &cp)
		slices.Reverse(ids)
		if got := load(t, s, c, ids...); !reflect.DeepEqual(got, want) {
			t.Fatalf("%d users came back otherwise than written (%d rows)", n, len(got))
		}
		del := &maru.Checkpoint{Epoch: c.Epoch, Next: next}
		for _, f := range cp.Friends {
			del.Unfriended = append(del.Unfriended, maru.FriendKey{UserID: f.UserID, FriendID: f.FriendID})
		}
		write(t, s, del)
		for _, u := range load(t, s, c, ids...) {
			if len(u.Friends) != 0 {
				t.Fatalf("with %d users, %s kept %v", n, u.UserID, u.Friends)
			}
		}
	}
}

// hostile are texts that a store which builds SQL from values, counts bytes for
// characters or normalises would change.
var hostile = []string{
	`'; DROP TABLE users; --`, `"`, `\`, `\'`, `''`, `$1`, `?`, `:rows`, `:list`, `%s%d`, `E'\\x00'`, "`", `{"a":null}`, `\x00`, `NULL`,
	"마루", "안녕하세요!", "ㄱㅁㅎ", "\uac00", "\u1100\u1161", "😀👩\u200d👩\u200d👧", "\u00e9", "e\u0301", "\u202eabc", "\ufeff", "\u0001\t\n\r\u007f", "\U0010ffff", " ", "",
	strings.Repeat("긴", 100_000),
}

func hostileTexts(t *testing.T, dsn string) {
	s := open(t, dsn, nil)
	c := claim(t, s, 0)
	var cp maru.Checkpoint
	want := map[string]maru.UserRow{}
	var ids []string
	for i, text := range hostile {
		u := User(text)
		if len(text) > 100 { // ids are keys, and keys are short
			u = User(fmt.Sprint("long", i))
		}
		u.UserName, u.UserStatus, u.Email, u.Password, u.State = text, text, text, text, []byte(text+"\x00\xff\xfe")
		cp.Users = append(cp.Users, u)
		f := maru.FriendRow{UserID: u.UserID, FriendID: u.UserID, Alias: text, AddedAt: int64(i)}
		cp.Friends = append(cp.Friends, f)
		u.Friends = []maru.FriendRow{f}
		want[u.UserID] = u
		ids = append(ids, u.UserID)
	}
	cp.Epoch, cp.Next, cp.Aux = c.Epoch, 1, []byte("\x00\x01'\\")
	write(t, s, &cp)
	got := load(t, s, c, ids...)
	if len(got) != len(want) {
		t.Errorf("%d rows, want %d", len(got), len(want))
	}
	for _, u := range got {
		if !reflect.DeepEqual(u, want[u.UserID]) {
			t.Errorf("user %q came back as %.300q", u.UserID, fmt.Sprint(u))
		}
	}
	for _, text := range hostile {
		if _, err := s.Claim(t.Context(), maru.ClaimRequest{Slot: 1, Owner: text}); err != nil {
			t.Errorf("owner %.30q: %v", text, err)
		} else if got := slotRow(t, s, 1).Owner; got != text {
			t.Errorf("owner %.30q came back as %.30q", text, got)
		}
	}
	if again := claim(t, s, 0); string(again.Aux) != "\x00\x01'\\" {
		t.Errorf("aux is %q", again.Aux)
	}
}

// What a database cannot hold is a definite answer that says so, on both alike,
// and leaves the store usable.
func refusedValues(t *testing.T, dsn string) {
	s := open(t, dsn, nil)
	c := claim(t, s, 0)
	user := func(change func(*maru.UserRow)) maru.Checkpoint {
		u := User("alice")
		change(&u)
		return maru.Checkpoint{Users: []maru.UserRow{User("before"), u}}
	}
	secret := "secret\x00"
	for name, cp := range map[string]maru.Checkpoint{
		"NUL in id":         user(func(u *maru.UserRow) { u.UserID = "al\x00ice" }),
		"NUL in name":       user(func(u *maru.UserRow) { u.UserName = "\x00" }),
		"NUL in password":   user(func(u *maru.UserRow) { u.Password = secret }),
		"invalid status":    user(func(u *maru.UserRow) { u.UserStatus = "\xff" }),
		"half a surrogate":  user(func(u *maru.UserRow) { u.Email = "\xed\xa0\x80" }),
		"cut character":     user(func(u *maru.UserRow) { u.UserName = "마루"[:4] }),
		"NUL in alias":      {Friends: []maru.FriendRow{{UserID: "alice", FriendID: "bob", Alias: "\x00"}}},
		"invalid friend":    {Friends: []maru.FriendRow{{UserID: "alice", FriendID: "\x80"}}},
		"invalid former":    {Unfriended: []maru.FriendKey{{UserID: "alice", FriendID: "\x80"}}},
		"user twice":        {Users: []maru.UserRow{User("alice"), User("alice")}},
		"friend twice":      {Friends: []maru.FriendRow{{UserID: "a", FriendID: "b"}, {UserID: "a", FriendID: "b", Alias: "x"}}},
		"negative next":     {Next: -5},
		"expiry without P":  {Expired: 5},
		"expiry negative P": {Expired: 5, Partitions: -1},
	} {
		cp.Epoch = c.Epoch
		if cp.Next == 0 {
			cp.Next = 1
		}
		err := s.Checkpoint(t.Context(), &cp)
		if name == "negative next" {
			wantErr(t, err, store.ErrBackwards)
			continue
		}
		wantErr(t, err, store.ErrRefused)
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error repeats the password: %v", name, err)
		}
	}
	if rows, err := s.Users(t.Context(), "", 10); err != nil || len(rows) != 0 {
		t.Errorf("left behind: %v, %v", rows, err)
	}
	for name, err := range map[string]error{
		"claim": second(s.Claim(t.Context(), maru.ClaimRequest{Owner: "\xff"})),
		"load":  second(s.LoadUsers(t.Context(), 0, c.Epoch, []string{"a\x00"})),
		"users": second(s.Users(t.Context(), "\xff", 1)),
		"user":  third(s.User(t.Context(), "\x00")),
		"meta":  third(s.EnsureMeta(t.Context(), "k", "\x00")),
		"set":   s.SetMeta(t.Context(), "\x00", "v"),
		"home":  s.AnnounceHome(t.Context(), "\xff", 1, 1),
	} {
		if wantErr(t, err, store.ErrRefused); t.Failed() {
			t.Error(name)
		}
	}
	write(t, s, &maru.Checkpoint{Epoch: c.Epoch, Next: 1, Users: []maru.UserRow{User("alice")}})
}

func second[A any](_ A, err error) error { return err }

func third[A, B any](_ A, _ B, err error) error { return err }
