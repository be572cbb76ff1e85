-- +goose Up
-- A released migration is never edited; later ones are added beside it.
-- COLLATE "C": ids are ASCII and their order is the order of their bytes, on
-- every server and after every upgrade of its C library.

CREATE TABLE slots (
  slot          BIGINT PRIMARY KEY,
  epoch         BIGINT NOT NULL,
  generation    BIGINT NOT NULL,
  owner         TEXT   NOT NULL,
  claimed_at    BIGINT NOT NULL,
  next_offset   BIGINT NOT NULL,
  login_next    BIGINT,            -- NULL: never set
  aux           BYTEA  NOT NULL,
  rules_version BIGINT NOT NULL
) WITH (fillfactor = 50);

-- state is bytes: only the user's home reads it, and no encoding rule of a
-- database can refuse or change it.
-- fillfactor: users are updated at every checkpoint, and no indexed column
-- changes; with room in the page the update touches no index (HOT).
CREATE TABLE users (
  user_id            TEXT COLLATE "C" PRIMARY KEY,
  hash               BIGINT  NOT NULL,
  registered         BOOLEAN NOT NULL,
  user_name          TEXT    NOT NULL,
  user_status        TEXT    NOT NULL,
  email              TEXT    NOT NULL,
  admin              BOOLEAN NOT NULL,
  password           TEXT    NOT NULL,
  credential_version BIGINT  NOT NULL,
  joined_at          BIGINT  NOT NULL,
  login_at           BIGINT  NOT NULL,
  logout_at          BIGINT  NOT NULL,
  added_by           BIGINT  NOT NULL,
  rev                BIGINT  NOT NULL,
  clock              BIGINT  NOT NULL,
  expires_at         BIGINT  NOT NULL,
  state              BYTEA   NOT NULL
) WITH (fillfactor = 80);

-- The slot of a user is hash % P. No index can serve every P; one on the hash
-- lets "all users of a slot" read this narrow index instead of whole rows.
CREATE INDEX users_hash ON users (hash);
CREATE INDEX users_expiry ON users (expires_at) WHERE NOT registered;

CREATE TABLE friends (
  user_id   TEXT COLLATE "C" NOT NULL,
  friend_id TEXT COLLATE "C" NOT NULL,
  alias     TEXT   NOT NULL,
  added_at  BIGINT NOT NULL,
  PRIMARY KEY (user_id, friend_id)
);

CREATE TABLE cluster (
  key   TEXT COLLATE "C" PRIMARY KEY,
  value TEXT NOT NULL
);

CREATE TABLE homes (
  name      TEXT COLLATE "C" PRIMARY KEY,
  rules_max BIGINT NOT NULL,
  seen_at   BIGINT NOT NULL
);
