-- +goose Up
-- A released migration is never edited; later ones are added beside it.
-- STRICT: a value of another type is an error, as in PostgreSQL.

CREATE TABLE slots (
  slot          INTEGER PRIMARY KEY,
  epoch         INTEGER NOT NULL,
  generation    INTEGER NOT NULL,
  owner         TEXT    NOT NULL,
  claimed_at    INTEGER NOT NULL,
  next_offset   INTEGER NOT NULL,
  login_next    INTEGER,           -- NULL: never set
  aux           BLOB    NOT NULL,
  rules_version INTEGER NOT NULL
) STRICT;

-- state is bytes: only the user's home reads it, and no encoding rule of a
-- database can refuse or change it.
CREATE TABLE users (
  user_id            TEXT    PRIMARY KEY NOT NULL,
  hash               INTEGER NOT NULL,
  registered         INTEGER NOT NULL,
  user_name          TEXT    NOT NULL,
  user_status        TEXT    NOT NULL,
  email              TEXT    NOT NULL,
  admin              INTEGER NOT NULL,
  password           TEXT    NOT NULL,
  credential_version INTEGER NOT NULL,
  joined_at          INTEGER NOT NULL,
  login_at           INTEGER NOT NULL,
  logout_at          INTEGER NOT NULL,
  added_by           INTEGER NOT NULL,
  rev                INTEGER NOT NULL,
  clock              INTEGER NOT NULL,
  expires_at         INTEGER NOT NULL,
  state              BLOB    NOT NULL
) STRICT;

-- The slot of a user is hash % P. No index can serve every P; one on the hash
-- lets "all users of a slot" read this narrow index instead of whole rows.
CREATE INDEX users_hash ON users (hash);
CREATE INDEX users_expiry ON users (expires_at) WHERE NOT registered;

CREATE TABLE friends (
  user_id   TEXT    NOT NULL,
  friend_id TEXT    NOT NULL,
  alias     TEXT    NOT NULL,
  added_at  INTEGER NOT NULL,
  PRIMARY KEY (user_id, friend_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE cluster (
  key   TEXT PRIMARY KEY NOT NULL,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE homes (
  name      TEXT    PRIMARY KEY NOT NULL,
  rules_max INTEGER NOT NULL,
  seen_at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
