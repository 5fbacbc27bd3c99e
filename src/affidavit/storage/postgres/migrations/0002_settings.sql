-- Who may come in, what everybody else knows of catalogs, and what erasure, retention and the log need beside the events.
-- Times are microseconds since 1970 UTC. `organizations` of a credential is the JSON text "all" or an array of names;
-- `abilities` is a JSON array. JSON is kept as text, to the byte. Secrets are kept as SHA-256, except the organization's own.

CREATE TABLE affidavit_organizations (
    name       text    COLLATE "C" NOT NULL PRIMARY KEY,
    secret     bytea   NOT NULL CHECK (octet_length(secret) = 32),
    created_at bigint  NOT NULL,
    declared   integer NOT NULL DEFAULT 0 CHECK (declared IN (0, 1))
);

CREATE TABLE affidavit_tokens (
    id            text   COLLATE "C" NOT NULL PRIMARY KEY,
    name          text   COLLATE "C" NOT NULL,
    hash          bytea  NOT NULL UNIQUE CHECK (octet_length(hash) = 32),
    organizations text   COLLATE "C" NOT NULL CHECK (json_typeof(organizations::json) = 'array'),
    abilities     text   COLLATE "C" NOT NULL CHECK (json_typeof(abilities::json) = 'array'),
    created_at    bigint NOT NULL,
    created_by    text   COLLATE "C" NOT NULL,
    expires_at    bigint,
    last_used_at  bigint,
    revoked_at    bigint
);

CREATE TABLE affidavit_logins (
    hash          bytea  NOT NULL PRIMARY KEY CHECK (octet_length(hash) = 32),
    name          text   COLLATE "C" NOT NULL,
    organizations text   COLLATE "C" NOT NULL,
    abilities     text   COLLATE "C" NOT NULL,
    created_at    bigint NOT NULL,
    expires_at    bigint NOT NULL,
    used_at       bigint
);

CREATE TABLE affidavit_sessions (
    hash          bytea  NOT NULL PRIMARY KEY CHECK (octet_length(hash) = 32),
    id            text   COLLATE "C" NOT NULL UNIQUE,
    name          text   COLLATE "C" NOT NULL,
    organizations text   COLLATE "C" NOT NULL,
    abilities     text   COLLATE "C" NOT NULL,
    created_at    bigint NOT NULL,
    expires_at    bigint NOT NULL,
    ended_at      bigint
);

CREATE TABLE affidavit_catalogs (
    name      text   COLLATE "C" NOT NULL,
    version   bigint NOT NULL CHECK (version >= 1),
    document  text   COLLATE "C" NOT NULL CHECK (document::json IS NOT NULL),
    pushed_at bigint NOT NULL,
    pushed_by text   COLLATE "C" NOT NULL,
    PRIMARY KEY (name, version)
);

-- Work for the holder of the worker's lease, taken up at its next tick; the outcome is written back.
CREATE TABLE affidavit_tasks (
    id           text   COLLATE "C" NOT NULL PRIMARY KEY,
    kind         text   COLLATE "C" NOT NULL,
    organization text   COLLATE "C" NOT NULL,
    request      text   COLLATE "C" NOT NULL CHECK (request::json IS NOT NULL),
    state        text   COLLATE "C" NOT NULL CHECK (state IN ('waiting', 'running', 'done', 'failed')),
    outcome      text   COLLATE "C" CHECK (outcome IS NULL OR outcome::json IS NOT NULL),
    created_at   bigint NOT NULL,
    created_by   text   COLLATE "C" NOT NULL,
    started_at   bigint,
    ended_at     bigint
);
CREATE INDEX affidavit_tasks_open ON affidavit_tasks (created_at) WHERE state IN ('waiting', 'running');

-- How long the groups of a class of events are kept: an action, `prefix.*`, or `*`; the longest match counts.
CREATE TABLE affidavit_policies (
    organization text   COLLATE "C" NOT NULL,
    class        text   COLLATE "C" NOT NULL,
    days         bigint CHECK (days >= 1),           -- NULL: forever
    PRIMARY KEY (organization, class)
);

-- A legal hold wins over every policy and over pruning.
CREATE TABLE affidavit_holds (
    id           text   COLLATE "C" NOT NULL PRIMARY KEY,
    organization text   COLLATE "C" NOT NULL,
    name         text   COLLATE "C" NOT NULL,
    reason       text   COLLATE "C" NOT NULL,
    class        text   COLLATE "C" NOT NULL,
    created_at   bigint NOT NULL,
    created_by   text   COLLATE "C" NOT NULL,
    released_at  bigint
);
CREATE INDEX affidavit_holds_in_force ON affidavit_holds (organization, class) WHERE released_at IS NULL;

-- Closed ranges of ids: their rows are gone, and none may come back.
CREATE TABLE affidavit_pruned (
    organization text  COLLATE "C" NOT NULL,
    from_id      uuid  NOT NULL,
    to_id        uuid  NOT NULL,
    manifest     bytea NOT NULL CHECK (octet_length(manifest) = 32),
    PRIMARY KEY (organization, from_id)
);
