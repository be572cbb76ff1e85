package store

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5"
)

// target is a parsed DSN: exactly one of the two is set.
type target struct {
	postgres *pgx.ConnConfig
	file     string // absolute path
}

const wanted = "give postgres://user:password@host:5432/name or the path of a SQLite file"

// parseDSN tells a PostgreSQL URL from a path. None of its errors repeats the
// DSN: it may hold a password, also where the writer's slip makes it look like a path.
func parseDSN(dsn string) (target, error) {
	lower := strings.ToLower(dsn)
	scheme, _, isURL := strings.Cut(lower, "://")
	switch {
	case strings.TrimSpace(dsn) == "":
		return target{}, errors.New("no database is given: " + wanted)
	case isURL && (scheme == "postgres" || scheme == "postgresql"):
		cfg, err := parsePostgres(dsn)
		return target{postgres: cfg}, err
	case isURL:
		return target{}, errors.New("the database has an unknown scheme before ://: " + wanted)
	case strings.HasPrefix(lower, "postgres:"), strings.HasPrefix(lower, "postgresql:"):
		return target{}, errors.New("the database address lacks // after postgres: " + wanted)
	case strings.Contains(lower, "host="), strings.Contains(lower, "dbname="), strings.Contains(lower, "password="):
		return target{}, errors.New("the database is given as key=value words: " + wanted)
	case strings.HasPrefix(lower, "file:"):
		return target{}, errors.New("the database is given as a file: URI: give the plain path of the SQLite file")
	case strings.HasPrefix(lower, ":memory:"):
		return target{}, errors.New("a database in memory cannot be shared by maru's connections: give the path of a SQLite file")
	case strings.ContainsRune(dsn, 0):
		return target{}, errors.New("the path of the database contains a NUL byte: " + wanted)
	}
	path, err := parsePath(dsn)
	return target{file: path}, err
}

func parsePostgres(dsn string) (*pgx.ConnConfig, error) {
	u, err := url.Parse(dsn)
	if err != nil {
		return nil, errors.New("the PostgreSQL address is not a valid URL: percent-encode the special characters of its password (@ is %40, / is %2F, # is %23), and end the host with :port")
	}
	_, rest, _ := strings.Cut(dsn, "://")
	if i := strings.IndexAny(rest, "/?#"); i >= 0 && strings.ContainsAny(rest[i:], "@#") {
		// What follows the first / ? or # would be taken for the name of the database, and shown.
		return nil, errors.New("the PostgreSQL address has an @ or # after its first / ? or #: percent-encode the special characters of its password (@ is %40, / is %2F, ? is %3F, # is %23)")
	}
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		reason := "check the port and the parameters after the ?"
		// The reason of the driver follows the address, from which it has removed what it took for
		// the password; it is shown only when the password is certainly not in it.
		if _, after, ok := strings.Cut(err.Error(), "`: "); ok && !mentionsSecret(after, u) {
			reason = after
		}
		return nil, errors.New("the PostgreSQL address cannot be used: " + reason)
	}
	return cfg, nil
}

// mentionsSecret tells whether text could repeat a secret of u.
func mentionsSecret(text string, u *url.URL) bool {
	secrets := []string{u.Query().Get("password"), u.Query().Get("sslpassword")}
	if pw, ok := u.User.Password(); ok {
		secrets = append(secrets, pw, url.QueryEscape(pw), url.PathEscape(pw))
	}
	for _, s := range secrets {
		if s != "" && strings.Contains(text, s) {
			return true
		}
	}
	return false
}

func parsePath(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("the path of the database: %w", err)
	}
	shown := abs
	if strings.ContainsRune(path, '@') { // more likely an address without its scheme
		shown = "given (not repeated here, since an @ may follow a password)"
	}
	dir, err := os.Stat(filepath.Dir(abs))
	if err != nil || !dir.IsDir() {
		return "", fmt.Errorf("the folder of the database file %s does not exist: make it, or %s", shown, wanted)
	}
	if fi, err := os.Stat(abs); err == nil && !fi.Mode().IsRegular() {
		return "", fmt.Errorf("the database %s is not a file: %s", shown, wanted)
	}
	return abs, nil
}
