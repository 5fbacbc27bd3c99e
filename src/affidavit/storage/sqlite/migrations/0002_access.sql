-- Who may come in, and what everybody else knows of catalogs.
-- Times are microseconds since 1970 UTC. `organizations` of a credential is the JSON text "all" or an array of names;
-- `abilities` is a JSON array. Secrets are kept as SHA-256, except the organization's own.

CREATE TABLE affidavit_organizations (
    name       TEXT NOT NULL PRIMARY KEY,
    secret     BLOB NOT NULL CHECK (length(secret) = 32),
    created_at INTEGER NOT NULL,
    declared   INTEGER NOT NULL DEFAULT 0 CHECK (declared IN (0, 1))
) STRICT, WITHOUT ROWID;

CREATE TABLE affidavit_tokens (
    id            TEXT NOT NULL PRIMARY KEY,
    name          TEXT NOT NULL,
    hash          BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
    organizations TEXT NOT NULL CHECK (json_type(organizations) = 'array'),
    abilities     TEXT NOT NULL CHECK (json_type(abilities) = 'array'),
    created_at    INTEGER NOT NULL,
    created_by    TEXT NOT NULL,
    expires_at    INTEGER,
    last_used_at  INTEGER,
    revoked_at    INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE affidavit_logins (
    hash          BLOB NOT NULL PRIMARY KEY CHECK (length(hash) = 32),
    name          TEXT NOT NULL,
    organizations TEXT NOT NULL,
    abilities     TEXT NOT NULL,
    created_at    INTEGER NOT NULL,
    expires_at    INTEGER NOT NULL,
    used_at       INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE affidavit_sessions (
    hash          BLOB NOT NULL PRIMARY KEY CHECK (length(hash) = 32),
    id            TEXT NOT NULL UNIQUE,
    name          TEXT NOT NULL,
    organizations TEXT NOT NULL,
    abilities     TEXT NOT NULL,
    created_at    INTEGER NOT NULL,
    expires_at    INTEGER NOT NULL,
    ended_at      INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE affidavit_catalogs (
    name      TEXT NOT NULL,
    version   INTEGER NOT NULL CHECK (version >= 1),
    document  TEXT NOT NULL CHECK (json_valid(document)),
    pushed_at INTEGER NOT NULL,
    pushed_by TEXT NOT NULL,
    PRIMARY KEY (name, version)
) STRICT, WITHOUT ROWID;
