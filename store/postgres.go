package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"maru"
)

func newPostgres() *dialect {
	return &dialect{
		name:  "postgres",
		goose: goose.DialectPostgres,
		// Spelt out, so that no default of the server or the role changes what a
		// transaction sees. READ COMMITTED is what the fence wants: after waiting for
		// the slot's row it is judged as it is then.
		beginWrite: "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
		beginRead:  "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
		numbered:   true,
		maxRows:    256,
		commit:     commitPostgres,
		durable:    func(context.Context, *sql.Conn) (func(), error) { return func() {}, nil },
		refused:    refusedByPostgres,
	}
}

const (
	statementTimeout = "10s"
	// A home that stops inside a transaction holds its slot's row; the server ends it after this.
	idleInTransaction = "5s"
)

func openPostgres(ctx context.Context, cfg *pgx.ConnConfig, c Config) (_ *Store, err error) {
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = 5 * time.Second
	}
	params := cfg.RuntimeParams
	setDefault(params, "application_name", "maru")
	setDefault(params, "statement_timeout", statementTimeout)
	setDefault(params, "idle_in_transaction_session_timeout", idleInTransaction)
	// A claim that a crash of the server forgets would let two owners have one epoch.
	params["synchronous_commit"] = "on"
	if cfg.ValidateConnect == nil {
		cfg.ValidateConnect = wantPrimary
	}
	d := newPostgres()
	if err := preparePostgres(ctx, cfg, d, c); err != nil {
		return nil, err
	}
	db := stdlib.OpenDB(*cfg)
	n := c.MaxConns
	if n <= 0 {
		n = 8
	}
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	db.SetConnMaxLifetime(30 * time.Minute) // follows a name that moves to another server
	s := &Store{d: d, writer: db, reader: db, timeout: c.Timeout}
	if s.timeout <= 0 {
		s.timeout = 15 * time.Second
	}
	return s, nil
}

// wantPrimary refuses a connection to a standby. Its rows may lag, and a home that
// read them would go on from an old state.
func wantPrimary(ctx context.Context, c *pgconn.PgConn) error {
	if err := pgconn.ValidateConnectTargetSessionAttrsReadWrite(ctx, c); err != nil {
		return fmt.Errorf("the server must take writes: give the address of the primary, not of a standby: %w", err)
	}
	return nil
}

func setDefault(params map[string]string, key, value string) {
	if _, set := params[key]; !set {
		params[key] = value
	}
}

// preparePostgres migrates on a connection of its own, since a migration may
// last longer than any statement in service.
func preparePostgres(ctx context.Context, cfg *pgx.ConnConfig, d *dialect, c Config) (err error) {
	patient := cfg.Copy()
	patient.RuntimeParams["statement_timeout"] = "0"
	patient.RuntimeParams["idle_in_transaction_session_timeout"] = "60s"
	db := stdlib.OpenDB(*patient)
	defer func() { err = errors.Join(err, db.Close()) }()
	var encoding string
	if err := db.QueryRowContext(ctx, "SHOW server_encoding").Scan(&encoding); err != nil {
		return fmt.Errorf("reach PostgreSQL: %w", err)
	}
	if encoding != "UTF8" {
		return fmt.Errorf("the PostgreSQL database has the encoding %s: make one with ENCODING 'UTF8'", encoding)
	}
	lock, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer lock.Close()
	// One process at a time. The lock ends with its session, that is with db. It is not
	// left to goose, which makes its table before it locks.
	if _, err := lock.ExecContext(ctx, "SELECT pg_advisory_lock($1)", migrationLock); err != nil {
		return fmt.Errorf("wait for another process that migrates the database: %w", err)
	}
	return migrate(ctx, db, d, c.Logger)
}

const migrationLock int64 = 0x6d617275 // "maru"

// commitPostgres tells the failures that are certain from the others.
func commitPostgres(ctx context.Context, c *sql.Conn) error {
	var tag pgconn.CommandTag
	sent := false
	err := c.Raw(func(driverConn any) (err error) {
		conn := driverConn.(*stdlib.Conn).Conn()
		if conn.IsClosed() {
			return pgconn.ErrConnClosed
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		sent = true
		tag, err = conn.Exec(ctx, "COMMIT")
		return err
	})
	switch {
	case err == nil && tag.String() != "COMMIT":
		return fmt.Errorf("the server answered COMMIT with %s", tag) // it had given the transaction up before
	case err == nil, !sent, definite(err):
		return err
	}
	return fmt.Errorf("%w: %w", maru.ErrOutcomeUnknown, err)
}

// definite tells whether err, from sending COMMIT, proves that nothing was
// committed. Only an ERROR answered by the server does: it raises none after the
// point of no return. Not so FATAL and PANIC (a server that shuts down may end a
// session whose transaction is committed already, for one that waits for its
// standby it says so), nor the classes 08 and 40003, by which poolers and proxies
// tell that they lost the server. Everything else is a lost connection or a context that
// ended while COMMIT was under way.
//
// pgconn.SafeToRetry must not be asked here: pgx 5.12 answers true also when the
// connection broke while the answer to a statement without arguments was awaited
// (its second read reports "conn closed", which counts as "nothing sent").
func definite(err error) bool {
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return false
	}
	severity := e.SeverityUnlocalized
	if severity == "" {
		severity = e.Severity
	}
	return severity == "ERROR" && !strings.HasPrefix(e.Code, "08") && e.Code != "40003"
}

// refusedByPostgres: classes 22 (data exception), 23 (integrity constraint) and 54
// (program limit exceeded) of PostgreSQL's error codes, appendix A of its manual.
func refusedByPostgres(err error) bool {
	var e *pgconn.PgError
	if !errors.As(err, &e) || len(e.Code) != 5 {
		return false
	}
	switch e.Code[:2] {
	case "22", "23", "54":
		return true
	}
	return false
}
