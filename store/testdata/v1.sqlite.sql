-- Schema version 1 with a few rows, as the first schema wrote them. Never edited.
BEGIN TRANSACTION;
CREATE TABLE cluster (
  key   TEXT PRIMARY KEY NOT NULL,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "cluster" VALUES('partitions','16');
CREATE TABLE friends (
  user_id   TEXT    NOT NULL,
  friend_id TEXT    NOT NULL,
  alias     TEXT    NOT NULL,
  added_at  INTEGER NOT NULL,
  PRIMARY KEY (user_id, friend_id)
) STRICT, WITHOUT ROWID;
INSERT INTO "friends" VALUES('alice','bob','밥',107);
CREATE TABLE goose_db_version (
		id INTEGER PRIMARY KEY AUTOINCREMENT,
		version_id INTEGER NOT NULL,
		is_applied INTEGER NOT NULL,
		tstamp TIMESTAMP DEFAULT (datetime('now'))
	);
INSERT INTO "goose_db_version" VALUES(1,0,1,'2026-11-22 20:33:34');
INSERT INTO "goose_db_version" VALUES(2,1,1,'2026-11-22 20:33:34');
CREATE TABLE homes (
  name      TEXT    PRIMARY KEY NOT NULL,
  rules_max INTEGER NOT NULL,
  seen_at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "homes" VALUES('home-1',1,1800);
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
INSERT INTO "slots" VALUES(3,9,7,'home-1',1700,12345,NULL,X'7B2261223A317D',1);
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
INSERT INTO "users" VALUES('alice',1951417749,1,'앨리스 ''A''','back\slash','alice@example.org',1,'$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA',2,101,102,103,4,5,106,0,X'7B2276223A317D');
INSERT INTO "users" VALUES('ghost',1403318423,0,'','','',0,'',0,0,0,0,0,0,8,900,X'');
CREATE INDEX users_hash ON users (hash);
CREATE INDEX users_expiry ON users (expires_at) WHERE NOT registered;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('goose_db_version',2);
COMMIT;
