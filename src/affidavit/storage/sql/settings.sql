-- Statements of the settings stores; each is named by the line before it.

-- name: organization
SELECT name, created_at, declared FROM affidavit_organizations WHERE name = ?;

-- name: organizations
SELECT name, created_at, declared FROM affidavit_organizations ORDER BY name;

-- name: organization_exists
SELECT EXISTS (SELECT 1 FROM affidavit_organizations WHERE name = ?)
    OR EXISTS (SELECT 1 FROM affidavit_events WHERE organization = ?);

-- name: declare_organization
INSERT INTO affidavit_organizations (name, secret, created_at, declared) VALUES (?, ?, ?, 1)
ON CONFLICT (name) DO UPDATE SET declared = 1 WHERE affidavit_organizations.declared = 0;

-- name: make_organization
INSERT INTO affidavit_organizations (name, secret, created_at) VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING;

-- name: organization_secret
SELECT secret FROM affidavit_organizations WHERE name = ?;

-- name: add_token
INSERT INTO affidavit_tokens (id, name, hash, organizations, abilities, created_at, created_by, expires_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?);

-- name: tokens
SELECT id, name, hash, organizations, abilities, created_at, created_by, expires_at, last_used_at, revoked_at
FROM affidavit_tokens ORDER BY created_at, id;

-- name: token
SELECT id, name, hash, organizations, abilities, created_at, created_by, expires_at, last_used_at, revoked_at
FROM affidavit_tokens WHERE id = ?;

-- name: token_by_hash
SELECT id, name, hash, organizations, abilities, created_at, created_by, expires_at, last_used_at, revoked_at
FROM affidavit_tokens WHERE hash = ?;

-- name: revoke_token
UPDATE affidavit_tokens SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL;

-- name: token_used
UPDATE affidavit_tokens SET last_used_at = ? WHERE id = ? AND (last_used_at IS NULL OR last_used_at < ?);

-- name: forget_logins
DELETE FROM affidavit_logins WHERE expires_at < ?;

-- name: add_login
INSERT INTO affidavit_logins (hash, name, organizations, abilities, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?);

-- name: login
SELECT hash, name, organizations, abilities, created_at, expires_at, used_at FROM affidavit_logins WHERE hash = ?;

-- name: use_login
UPDATE affidavit_logins SET used_at = ? WHERE hash = ? AND used_at IS NULL AND expires_at > ?;

-- name: add_session
INSERT INTO affidavit_sessions (hash, id, name, organizations, abilities, created_at, expires_at)
VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: session
SELECT hash, id, name, organizations, abilities, created_at, expires_at, ended_at
FROM affidavit_sessions WHERE hash = ?;

-- name: end_session
UPDATE affidavit_sessions SET ended_at = ? WHERE hash = ? AND ended_at IS NULL AND expires_at > ?;

-- name: catalogs
SELECT document FROM affidavit_catalogs AS one
WHERE version = (SELECT max(version) FROM affidavit_catalogs AS other WHERE other.name = one.name) ORDER BY name;

-- name: catalog
SELECT version, document FROM affidavit_catalogs WHERE name = ? ORDER BY version DESC LIMIT 1;

-- name: add_catalog
INSERT INTO affidavit_catalogs (name, version, document, pushed_at, pushed_by) VALUES (?, ?, ?, ?, ?);
