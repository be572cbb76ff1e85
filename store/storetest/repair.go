package storetest

import (
	"database/sql"
	"testing"

	"maru"
	"maru/store"
)

func rebaseMovesBackAndFences(t *testing.T, dsn string) {
	s := open(t, dsn, nil)
	c, other := claim(t, s, 2), claim(t, s, 3)
	write(t, s, &maru.Checkpoint{Slot: 2, Epoch: c.Epoch, Next: 1000, LoginNext: 50, Aux: []byte("aux"), RulesVersion: 3})

	rebase := func(places ...store.Place) error { return s.Rebase(t.Context(), places) }
	if err := rebase(
		store.Place{Slot: 2, Epoch: c.Epoch, Next: 700, LoginNext: -1, Aux: []byte("new")},
		store.Place{Slot: 5, Next: 4, LoginNext: 3, Aux: []byte("first")},
	); err != nil {
		t.Fatal(err)
	}
	if got := slotRow(t, s, 2); got.Next != 700 || got.LoginNext != -1 || got.Epoch != c.Epoch+1 || got.RulesVersion != 3 {
		t.Errorf("slot is %+v, want next 700, login next -1, the next epoch", got)
	}
	wantErr(t, s.Checkpoint(t.Context(), &maru.Checkpoint{Slot: 2, Epoch: c.Epoch, Next: 1001}), maru.ErrFenced)
	for _, bad := range []store.Place{
		{Slot: 2, Epoch: c.Epoch, Next: 1, LoginNext: 1}, // it moved meanwhile
		{Slot: 9, Epoch: 1, Next: 1, LoginNext: 1},       // never claimed
		{Slot: 2, Next: 1, LoginNext: 1},                 // claimed
	} {
		wantErr(t, rebase(store.Place{Slot: 3, Epoch: other.Epoch, Next: 77, LoginNext: -1}, bad), maru.ErrFenced)
	}
	wantErr(t, rebase(store.Place{Slot: 2, Epoch: c.Epoch + 1, Next: -1, LoginNext: 1}), store.ErrRefused)
	if got := slotRow(t, s, 3); got.Next != 0 || got.Epoch != other.Epoch {
		t.Errorf("another slot of a refused call is %+v", got)
	}
	if again := claim(t, s, 2); again.Next != 700 || string(again.Aux) != "new" || again.Epoch != c.Epoch+2 {
		t.Errorf("claim after it is %+v", again)
	}
	if first := claim(t, s, 5); first.Next != 4 || first.LoginNext != 3 || string(first.Aux) != "first" || first.Epoch != 2 {
		t.Errorf("the first claim of a slot that was rebased is %+v", first)
	}
}

func auxIsReadBack(t *testing.T, dsn string) {
	s := open(t, dsn, nil)
	_, err := s.Aux(t.Context(), 0)
	wantErr(t, err, sql.ErrNoRows)
	c := claim(t, s, 0)
	if aux, err := s.Aux(t.Context(), 0); aux != nil || err != nil {
		t.Errorf("aux before the first checkpoint is %q, %v", aux, err)
	}
	write(t, s, &maru.Checkpoint{Epoch: c.Epoch, Next: 1, Aux: []byte{0, 255}})
	if aux, err := s.Aux(t.Context(), 0); string(aux) != "\x00\xff" || err != nil {
		t.Errorf("aux is %q, %v", aux, err)
	}
}

func amendsUsersThatRest(t *testing.T, dsn string) {
	s := open(t, dsn, nil)
	c := claim(t, s, 0)
	write(t, s, &maru.Checkpoint{Epoch: c.Epoch, Next: 1, Users: []maru.UserRow{User("a"), User("b")}})
	rows := load(t, s, c, "a", "b")
	for i := range rows {
		rows[i].AddedBy, rows[i].State = rows[i].AddedBy+7, []byte("amended")
	}
	rows[1].Rev++
	wantErr(t, s.AmendUsers(t.Context(), rows), maru.ErrFenced)
	rows[1].Rev--
	rows[1].Clock++
	wantErr(t, s.AmendUsers(t.Context(), rows), maru.ErrFenced)
	rows[1].Clock--
	if got := load(t, s, c, "a"); string(got[0].State) == "amended" {
		t.Error("a refused call has written")
	}
	if err := s.AmendUsers(t.Context(), rows); err != nil {
		t.Fatal(err)
	}
	for i, u := range load(t, s, c, "a", "b") {
		if u.AddedBy != rows[i].AddedBy || string(u.State) != "amended" || u.Rev != rows[i].Rev || u.UserName != rows[i].UserName {
			t.Errorf("amended is %+v", u)
		}
	}
}
