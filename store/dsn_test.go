package store

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseDSN(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	for dsn, want := range map[string]string{ // "" : accepted, else a part of the sentence
		filepath.Join(dir, "maru.db"):             "",
		filepath.Join(dir, "a b?c#d.db"):          "",
		"maru.db":                                 "",
		"postgres://u:s3cret@localhost:5432/maru": "",
		"postgresql://u:s3cret@/maru?host=/run":   "",
		"postgres://u:p%40%2Fs3cret@a:1,b:2/maru": "",
		"":                                                  "no database is given",
		"  ":                                                "no database is given",
		"mysql://u:s3cret@localhost/maru":                   "unknown scheme",
		"postgre://u:s3cret@localhost/maru":                 "unknown scheme",
		"postgres:/u:s3cret@localhost/maru":                 "lacks //",
		"host=localhost password=s3cret":                    "key=value",
		"file:/tmp/s3cret.db?mode=rwc":                      "plain path",
		":memory:":                                          "in memory",
		"a\x00b":                                            "NUL",
		filepath.Join(dir, "folder"):                        "is not a file",
		filepath.Join(dir, "absent", "maru.db"):             "does not exist",
		"u:s3cret@localhost/maru":                           "does not exist",
		"postgres://u:s3cret#x@localhost/maru":              "percent-encode",
		"postgres://u:12/s3cret@localhost/maru":             "percent-encode",
		"postgres://u:12?s3cret@localhost/maru":             "percent-encode",
		"postgres://u:s3cret/x@localhost/maru":              "percent-encode",
		"postgres://u:%zzs3cret@localhost/maru":             "percent-encode",
		"postgres://u:s3cret@localhost:99999/maru":          "cannot be used",
		"postgres://u:s3cret@localhost/maru?sslmode=wrong":  "sslmode",
		"postgres://u:s3cret@localhost/maru?sslmode=s3cret": "cannot be used",
	} {
		got, err := parseDSN(dsn)
		switch {
		case want == "" && err != nil:
			t.Errorf("%q: %v", dsn, err)
		case want == "" && (got.postgres == nil) != filepath.IsAbs(got.file):
			t.Errorf("%q: %+v", dsn, got)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%q: error is %v, want one about %q", dsn, err, want)
		case err != nil && strings.Contains(err.Error(), "s3cret"):
			t.Errorf("%q: the error repeats the password: %v", dsn, err)
		}
	}
}

func FuzzParseDSN(f *testing.F) {
	const secret = "s3cretmark"
	for _, s := range [][2]string{
		{"postgres://u:", "@h/db"}, {"postgres://u:x/", "@h/db"}, {"postgres://u:1?", "@h/db"}, {"postgres:/u:", "@h/db"}, {"u:", "@h/db"},
		{"postgres://u@h/db?password=", "&sslmode=wrong"}, {"host=h password=", ""}, {"postgres://u:", "@h:99999/db"}, {"x://", ""}, {"postgres://u:%", "@h/db"},
	} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, before, after string) {
		dsn := before + secret + after
		got, err := parseDSN(dsn)
		if err == nil {
			if (got.postgres == nil) == (got.file == "") {
				t.Errorf("%q: neither or both: %+v", dsn, got)
			}
			return
		}
		u, urlErr := url.Parse(dsn)
		hidden := strings.Contains(dsn, "@") && (urlErr != nil || u.User == nil) // where it may be a password
		if urlErr == nil {
			pw, _ := u.User.Password()
			hidden = hidden || strings.Contains(pw+u.Query().Get("password"), secret)
		}
		if hidden && strings.Contains(err.Error(), secret) {
			t.Errorf("%q: the error repeats the password: %v", dsn, err)
		}
	})
}
