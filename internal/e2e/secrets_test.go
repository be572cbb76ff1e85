package e2e

import (
	"bytes"
	"crypto/rand"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/twmb/franz-go/pkg/kgo"
	_ "modernc.org/sqlite"
)

// secret is a text that nobody may find, in any of the forms in which it could
// have been written down. foreign is one that another program itself has put on
// login-request.
type secret struct {
	name    string
	forms   [][]byte
	foreign bool
}

func newSecret(name, text string) secret {
	s := secret{name: name, forms: [][]byte{[]byte(text), []byte(hex.EncodeToString([]byte(text)))}}
	for shift := range 3 { // in the middle of something longer: what does not depend on the neighbours
		b := base64.StdEncoding.EncodeToString(append(make([]byte, shift), text...))
		b = b[(shift*8+5)/6 : (shift+len(text))*8/6]
		s.forms = append(s.forms, []byte(b))
		if url := strings.NewReplacer("+", "-", "/", "_").Replace(b); url != b {
			s.forms = append(s.forms, []byte(url))
		}
	}
	return s
}

// search finds many secrets in one pass: first is indexed by the first two bytes
// of a form.
type search struct{ first [1 << 16][]form }

type form struct {
	text []byte
	of   int // index of the secret
}

func newSearch(secrets []secret) *search {
	var s search
	for i, hidden := range secrets {
		for _, f := range hidden.forms {
			at := int(f[0])<<8 | int(f[1])
			s.first[at] = append(s.first[at], form{f, i})
		}
	}
	return &s
}

// in returns the indexes of the secrets that are in b.
func (s *search) in(b []byte) map[int]bool {
	found := map[int]bool{}
	for i := 1; i < len(b); i++ {
		for _, f := range s.first[int(b[i-1])<<8|int(b[i])] {
			if bytes.HasPrefix(b[i-1:], f.text) {
				found[f.of] = true
			}
		}
	}
	return found
}

// place is somewhere that things get written.
type place struct {
	name string
	data []byte
}

// hashMark is how a stored password hash begins.
const hashMark = "$argon2id$"

// secretsNowhere does everything that involves a secret, and looks for the secrets
// in all places where they could have got to.
func (s *site) secretsNowhere(t *testing.T) {
	user := "marked"
	name := "name-" + rand.Text()
	hidden := s.useSecrets(t, user, name)
	began := time.Now()
	places := s.places(t)
	gathered, size := time.Since(began), 0
	find := newSearch(hidden)
	found := map[string]int{} // places with the name of the user, and with hashes
	for _, p := range places {
		for i := range find.in(p.data) {
			if h := hidden[i]; !h.foreign || !mayHoldForeign(p.name) {
				t.Errorf("%s is in %s", h.name, p.name)
			}
		}
		size += len(p.data)
		kind, _, _ := strings.Cut(p.name, " ")
		if bytes.Contains(p.data, []byte(name)) {
			found["name in "+kind]++
		}
		if bytes.Contains(p.data, []byte(hashMark)) {
			found["hash in "+kind]++
			if !mayHoldHashes(kind, p.name) {
				t.Errorf("a password hash is in %s", p.name)
			}
		}
	}
	t.Logf("looked into %d places, %d MB, in %v after %v: %v", len(places), size>>20, time.Since(began)-gathered, gathered, found)
	// The search finds what is there.
	for _, want := range []string{"name in commands", "name in login-response", "name in table", "name in file", "hash in commands", "hash in table"} {
		if found[want] == 0 {
			t.Errorf("not found: %s", want)
		}
	}
}

// The search finds every form of a secret, anywhere in other bytes.
func TestSecretsAreFound(t *testing.T) {
	hidden := []secret{newSecret("first", "word-one??>>~~"), newSecret("second", "word-two")}
	find := newSearch(hidden)
	for name, text := range map[string]string{
		"plain": "word-one??>>~~", "hex": hex.EncodeToString([]byte("..word-one??>>~~..")),
		"base64 0": base64.StdEncoding.EncodeToString([]byte("word-one??>>~~")), "base64 1": base64.StdEncoding.EncodeToString([]byte("?word-one??>>~~.")),
		"base64 2": base64.URLEncoding.EncodeToString([]byte("??word-one??>>~~")), "base64 3": base64.RawURLEncoding.EncodeToString([]byte("???word-one??>>~~...")),
	} {
		if got := find.in([]byte("before " + text + " behind")); len(got) != 1 || !got[0] {
			t.Errorf("%s: found %v in %q", name, got, text)
		}
	}
	if got := find.in([]byte("word-one, word-tw")); len(got) != 0 {
		t.Errorf("found %v where there is none", got)
	}
}

// mayHoldForeign: what another program wrote on login-request lies there, and on
// the brokers' disks.
func mayHoldForeign(place string) bool {
	return strings.HasPrefix(place, "login-request ") || strings.HasPrefix(place, "file ") && strings.Contains(place, "/login-request-")
}

// mayHoldHashes: SQL has the hashes, and commands the registrations; so have their files.
func mayHoldHashes(kind, place string) bool {
	switch kind {
	case "commands", "table":
		return true
	case "file":
		return !strings.Contains(place, "/login-re") && !strings.Contains(place, "/delivery-")
	}
	return false
}

// useSecrets lets every kind of secret through every door, and returns them.
func (s *site) useSecrets(t *testing.T, user, name string) (all []secret) {
	add := func(what, text string) string {
		all = append(all, newSecret(what, text))
		return text
	}
	word := func(what string) string { return add(what, "word-"+rand.Text()) }
	g := s.gateway
	token := func(a answer) string {
		var body struct{ Token string }
		if err := json.Unmarshal([]byte(a.body), &body); err != nil || body.Token == "" {
			t.Fatalf("no token (%v)", err)
		}
		add("device token", a.header.Get("Maru-Device"))
		return "Bearer " + add("token", body.Token)
	}
	first, second, third := word("password"), word("new password"), word("password set by an administrator")
	g.do(t, http.StatusCreated, "POST", "/api/users", `{"userId":"`+user+`","userPw":"`+first+`","userName":"`+name+`"}`, "Idempotency-Key", "register-once")
	bearer := token(g.do(t, http.StatusOK, "POST", "/api/login", credentials(user, first)))
	cookies := g.do(t, http.StatusOK, "POST", "/api/login?cookie=1", credentials(user, first), "Idempotency-Key", "login-once").header.Values("Set-Cookie")
	if len(cookies) != 2 {
		t.Fatalf("%d cookies", len(cookies))
	}
	for _, c := range cookies {
		_, value, _ := strings.Cut(c, "=")
		value, _, _ = strings.Cut(value, ";")
		add("cookie", value)
	}
	g.do(t, http.StatusUnauthorized, "POST", "/api/login", credentials(user, word("wrong password")))
	g.do(t, http.StatusUnauthorized, "POST", "/api/login", credentials(strings.ToUpper(user)+"!", word("password for an impossible id")))
	g.do(t, http.StatusBadRequest, "POST", "/api/login", `{"userId":"`+user+`","userPw":"`+word("password in broken JSON"))
	g.do(t, http.StatusBadRequest, "POST", "/api/login", `{"userId":"`+user+`","password":"`+word("password in an unknown field")+`"}`)
	g.do(t, http.StatusBadRequest, "POST", "/api/users", `{"userId":"`+word("password as an id")+`","userPw":"x"}`)
	g.do(t, http.StatusUnauthorized, "GET", "/api/me", "", "Authorization", "Bearer "+word("false token"))
	g.do(t, http.StatusForbidden, "PUT", "/api/me/password", `{"userPw":"`+word("wrong old password")+`","newPw":"`+word("refused new password")+`"}`, "Authorization", bearer)
	g.do(t, http.StatusNoContent, "PUT", "/api/me/password", `{"userPw":"`+first+`","newPw":"`+second+`"}`, "Authorization", bearer)
	bearer = token(g.do(t, http.StatusOK, "POST", "/api/login", credentials(user, second)))
	g.do(t, http.StatusNoContent, "POST", "/api/logout", "", "Authorization", bearer)
	mustRun(t, third+"\n", append([]string{"user", "passwd", user}, s.reach...)...)
	token(g.do(t, http.StatusOK, "POST", "/api/login", credentials(user, third)))

	foreign := newSecret("password from another program", "word-"+rand.Text())
	foreign.foreign = true
	mark := s.mark()
	s.put(t, &kgo.Record{Topic: "login-request", Partition: homeOf(user), Key: []byte(user), Value: []byte(credentials(user, string(foreign.forms[0]))), Headers: headers("maru-id", mark)})
	s.tap.wait(t, "answer to another program", 1, on("login-response", mark))
	return append(all, foreign)
}

// places gathers everything that was written anywhere. SQL is read while maru
// runs, after the checkpoint that follows what was done.
func (s *site) places(t *testing.T) (all []place) {
	s.served(t, 0, 1)
	s.tap.catchUp(t, topics...)
	for _, r := range s.tap.all(func(*kgo.Record) bool { return true }) {
		data := append(append(append([]byte{}, r.Key...), 0), r.Value...)
		for _, h := range r.Headers {
			data = append(append(append(data, 0), h.Key...), h.Value...)
		}
		all = append(all, place{fmt.Sprintf("%s %d/%d", r.Topic, r.Partition, r.Offset), data})
	}
	processes := s.homes
	if !slices.Contains(processes, s.gateway) {
		processes = append(slices.Clone(processes), s.gateway)
	}
	for _, p := range processes {
		log, err := os.ReadFile(p.logs)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, place{"log of " + p.name, log}, place{"metrics of " + p.name, []byte(p.metrics(t))})
		all = append(all, files(t, p.data)...)
	}
	if s.brokers == nil {
		return append(all, s.tables(t, "sqlite", "file:"+filepath.Join(s.gateway.data, "maru.db")+"?mode=ro")...)
	}
	for i := 1; i <= 3; i++ {
		cfg, err := s.tap.adm.DescribeBrokerConfigs(t.Context(), int32(i))
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range cfg[0].Configs {
			if c.Key == "log.dirs" {
				logs := files(t, filepath.Dir(c.MaybeValue()))
				if len(logs) < partitions*len(topics) {
					t.Errorf("only %d files of broker %d were found", len(logs), i)
				}
				all = append(all, logs...)
			}
		}
	}
	all = append(all, s.tables(t, "pgx", s.dsn)...)
	for _, dir := range s.sqlData {
		all = append(all, files(t, dir)...)
	}
	return all
}

// files reads a directory. What maru's processes may hold open is read as it is.
func files(t *testing.T, dir string) (all []place) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		// Kafka's indexes have offsets, positions and times only, in 10 MB of nothing each.
		if ext := filepath.Ext(path); ext == ".index" || ext == ".timeindex" {
			return nil
		}
		b, err := os.ReadFile(path)
		if os.IsNotExist(err) { // deleted meanwhile
			return nil
		}
		name, _ := filepath.Rel(dir, path)
		all = append(all, place{"file " + name, b})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// dataDirectories are where PostgreSQL keeps the tables of a database, and the
// write-ahead log of all.
func dataDirectories(t *testing.T, adminDSN, dsn string) []string {
	t.Helper()
	ask := func(dsn, query string) (answer string) {
		db, err := sql.Open("pgx", dsn)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if err := db.QueryRow(query).Scan(&answer); err != nil {
			t.Fatal(err)
		}
		return answer
	}
	dir := ask(adminDSN, "SHOW data_directory")
	oid := ask(dsn, "SELECT oid::text FROM pg_database WHERE datname = current_database()")
	return []string{filepath.Join(dir, "base", oid), filepath.Join(dir, "pg_wal")}
}

// tables reads every row of every table.
func (s *site) tables(t *testing.T, driver, dsn string) (all []place) {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	list := `SELECT name FROM sqlite_master WHERE type = 'table'`
	if driver == "pgx" {
		list = `SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema()`
	}
	for _, name := range column(t, db, list) {
		rows, err := db.Query(`SELECT * FROM "` + name + `"`)
		if err != nil {
			t.Fatal(err)
		}
		columns, _ := rows.Columns()
		for n := 0; rows.Next(); n++ {
			values, into := make([]any, len(columns)), make([]any, len(columns))
			for i := range values {
				into[i] = &values[i]
			}
			if err := rows.Scan(into...); err != nil {
				t.Fatal(err)
			}
			var data []byte
			for _, v := range values {
				if b, ok := v.([]byte); ok {
					data = append(append(data, b...), 0)
				} else {
					data = fmt.Append(data, v, "\x00")
				}
			}
			all = append(all, place{fmt.Sprintf("table %s row %d", name, n), data})
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func column(t *testing.T, db *sql.DB, query string) (names []string) {
	t.Helper()
	rows, err := db.Query(query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	return names
}
