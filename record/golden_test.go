package record

import (
	"bytes"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"maru"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares one line with testdata/name.json, byte for byte.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name+".json")
	if bytes.ContainsRune(got, '\n') {
		t.Errorf("%s: not on one line", name)
	}
	if *update {
		if err := os.WriteFile(path, append(got, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(bytes.TrimSuffix(want, []byte("\n")), got) {
		t.Errorf("%s:\n got %s\nwant %s", name, got, want)
	}
}

var (
	aID     = maru.CommandID{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255}
	session = aID.Session()
	gateway = &Address{Gateway: "g1", Partition: 63}
)

// private is a command of a signed-in user, whose body is to be added.
func private(kind Kind) Command {
	return Command{V: Version, Kind: kind, ID: aID, User: "alice", Session: session, Reply: gateway}
}

// commands has one command of each kind.
func commands() map[Kind]Command {
	all := map[Kind]Command{}
	for _, k := range []Kind{
		Register, Update, PasswordChange, SessionEnd, FriendAdd, FriendRemove, Ask, PasswordSet, AdminSet, Where,
		LoginChecked, PasswordChecked, FriendAdded, FriendAnswer, FriendDropped, Rules,
	} {
		c := private(k)
		switch k {
		case Register, PasswordSet, AdminSet, Where, LoginChecked:
			c.Session = ""
		case FriendAdded, FriendAnswer, FriendDropped:
			c = Command{V: Version, Kind: k, User: "alice", From: &Stream{Cause: Cause{Slot: 3, Offset: 1 << 40, Index: 2}, N: 17}}
		case Rules:
			c = Command{V: Version, Kind: k}
		}
		all[k] = withBody(c)
	}
	return all
}

func withBody(c Command) Command {
	const hash = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g"
	switch c.Kind {
	case Register:
		c.Register = &RegisterBody{Password: hash, Name: "앨리스 <&>", Status: "안녕하세요!", Email: "alice@naver.com", Admin: true}
	case Update:
		c.Update = &UpdateBody{Name: new("Alice"), Status: new("")}
	case PasswordChange:
		c.PasswordChange = &PasswordChangeBody{Sealed: "AQID", Password: hash}
	case SessionEnd:
		c.SessionEnd = &SessionEndBody{Session: session, Logout: true}
	case FriendAdd:
		c.Friend = &FriendBody{Friend: "bob", Alias: new("밥")}
	case FriendRemove, FriendAdded, FriendDropped:
		c.Friend = &FriendBody{Friend: "bob"}
	case FriendAnswer:
		c.Friend = &FriendBody{Friend: "bob", OK: true}
	case Ask:
		c.Ask = &AskBody{What: AskFriends, Users: []string{"bob"}, After: "bob", Limit: 20}
	case PasswordSet:
		c.PasswordSet = &PasswordSetBody{Password: hash}
	case AdminSet:
		c.AdminSet = &AdminSetBody{Admin: true}
	case LoginChecked:
		c.LoginChecked = &LoginCheckedBody{
			Result: LoginOK, Requested: "alice", Version: 3, Offset: 12, Echo: aID.String(), Device: "Firefox on Linux", Known: true, Session: true,
			SignedAt: 1_700_000_000_123,
		}
	case PasswordChecked:
		c.PasswordChecked = &PasswordCheckedBody{OK: true, Busy: false, Version: 3, Password: hash}
	case Rules:
		c.Rules = &RulesBody{
			Version: 1, Zone: "Asia/Seoul", WindowMS: 900_000, FailMax: 5, FailWindowMS: 1_800_000, SessionTTLMS: 2_592_000_000,
			SessionsMax: 100, FriendsMax: 5000, OutcomesMax: 4096, OutcomesBytes: 65536, SeenAfterMS: 60_000, PendingMax: 256,
		}
	}
	return c
}

func TestGoldenCommands(t *testing.T) {
	all := commands()
	for _, k := range slices.Sorted(maps.Keys(all)) {
		c := all[k]
		b := MustEncode(c)
		golden(t, "command."+string(k), b)
		back, err := ParseCommand(b)
		if err != nil {
			t.Errorf("%s: %v", k, err)
			continue
		}
		if again := MustEncode(back); !bytes.Equal(again, b) {
			t.Errorf("%s: read and written again it is %s", k, again)
		}
	}
}

func deliveries() map[string]Delivery {
	seoul := time.FixedZone("KST", 9*3600)
	me := User{
		UserID: "alice", UserName: "앨리스 <&>", UserStatus: "안녕하세요!", Email: "alice@naver.com",
		JoinDate: DateOf(time.Date(2022, 12, 16, 15, 0, 0, 0, time.UTC).UnixMilli(), seoul), Admin: true, AddedBy: 7,
	}
	login := LoginUser{UserID: Text("alice"), UserName: Text("앨리스 <&>"), JoinDate: me.JoinDate, LoginDate: me.JoinDate}
	all := map[string]Delivery{}
	reply := func(name string, result any) {
		r := &Reply{ID: aID}
		if result != nil {
			r.Result = MustEncode(result)
		}
		all[name] = Delivery{V: Version, To: "g1", From: &Cause{Slot: 1, Offset: 9, Index: 2}, Reply: r}
	}
	reply("done", nil)
	reply("user", UserResult{User: me, Rev: 12})
	reply("users", UsersResult{Users: []User{{UserID: "bob", UserName: "Bob"}}})
	reply("users-none", UsersResult{Users: []User{}})
	reply("friends", FriendsResult{Friends: []Friend{{UserID: "bob", Alias: "밥", AddedAt: 1}, {UserID: "carol", AddedAt: 2}}, More: true})
	reply("friends-none", FriendsResult{Friends: []Friend{}})
	reply("sessions", SessionsResult{Sessions: []Session{{ID: session, Device: "Firefox", CreatedAt: 1, SeenAt: 2, ExpiresAt: 3}}})
	reply("login", LoginResultBody{Answer: LoginAnswer{RequestUserID: "alice", IsAccept: true, User: login}, Session: session, ExpiresAt: 3})
	reply("where", WhereResult{UserID: "alice", Slot: 1, Home: "h1", Epoch: 4, Since: 5, Resident: true})
	refusal := func(name string, r Reply) {
		r.ID = aID
		all[name] = Delivery{V: Version, To: "g1", From: &Cause{}, Reply: &r}
	}
	refusal("invalid", Reply{Code: maru.CodeInvalid, Field: "userName", Message: "the text is too long"})
	refusal("too-many", Reply{Code: maru.CodeTooMany, RetryAfterMS: 1500})
	refusal("login-failed", Reply{Code: maru.CodeLoginFailed, Result: MustEncode(LoginResultBody{Answer: LoginAnswer{RequestUserID: "aa"}})})
	all["beat"] = Delivery{V: Version, To: "g1", Beat: 3}
	return all
}

func TestGoldenDeliveries(t *testing.T) {
	all := deliveries()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		b := MustEncode(all[name])
		golden(t, "delivery."+name, b)
		back, err := ParseDelivery(b)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if again := MustEncode(back); !bytes.Equal(again, b) {
			t.Errorf("%s: read and written again it is %s", name, again)
		}
	}
}

// Every file in testdata belongs to a kind: one that is left over would mean that
// a kind was lost.
func TestGoldenFilesAreAllUsed(t *testing.T) {
	known := map[string]bool{"login.failed": true, "login.accepted": true}
	for k := range commands() {
		known["command."+string(k)] = true
	}
	for name := range deliveries() {
		known["delivery."+name] = true
	}
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) != len(known) {
		t.Errorf("%d golden files for %d kinds, %v", len(files), len(known), err)
	}
	for _, f := range files {
		if name := strings.TrimSuffix(filepath.Base(f), ".json"); !known[name] {
			t.Errorf("%s belongs to nothing", f)
		}
	}
}

func TestParseRefusesOtherVersions(t *testing.T) {
	for _, s := range []string{``, `null`, `[]`, `1`, `{}`, `{"v":0}`, `{"v":2,"kind":"ask"}`, `{"v":"1"}`, `{"v":1}x`, `{"v":1,"id":"zz"}`, `{"v":1,"id":7}`} {
		if c, err := ParseCommand([]byte(s)); err == nil {
			t.Errorf("command %s is read as %+v", s, c)
		}
	}
	for _, s := range []string{``, `null`, `{}`, `{"v":2,"to":"g"}`, `{"v":1,"reply":[]}`, `{"v":1}{}`} {
		if d, err := ParseDelivery([]byte(s)); err == nil {
			t.Errorf("delivery %s is read as %+v", s, d)
		}
	}
}

func TestEncode(t *testing.T) {
	b, err := Encode(map[string]any{"k": "<a href=\"x\">&안녕</a>\n", "raw": json.RawMessage(`{"a":"<&>"}`)})
	if want := `{"k":"<a href=\"x\">&안녕</a>\n","raw":{"a":"<&>"}}`; err != nil || string(b) != want {
		t.Errorf("got %s, %v; want %s", b, err, want)
	}
	if _, err := Encode(func() {}); err == nil {
		t.Error("a function has an encoding")
	}
	defer func() {
		if recover() == nil {
			t.Error("MustEncode went on without an encoding")
		}
	}()
	MustEncode(func() {})
}

func TestAddress(t *testing.T) {
	a := Address{Gateway: "g-1", Partition: 63}
	if got, err := ParseAddress(a.String()); err != nil || got != a {
		t.Errorf("%s is read as %v, %v", a, got, err)
	}
	for _, s := range []string{"", "g", "@1", "g@", "g@x", "g@-1", "g@2147483648", "g@1@2", "g@ 1", strings.Repeat("g", 65) + "@1"} {
		if got, err := ParseAddress(s); err == nil || got != (Address{}) {
			t.Errorf("ParseAddress(%q) = %v, %v", s, got, err)
		}
	}
}
