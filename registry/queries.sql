-- Statements of registry/store.py and registry/audit.py: one block per function.

-- name: insert_version
-- Insert a version without reference rows in staging and return it; migration 001 alone is enough for it.
INSERT INTO siramodel_registry
    (product, name, version, storage_s3_key, sha256, size_bytes, signature, thresholds, metadata, created_by)
VALUES (%(product)s, %(name)s, %(version)s, %(storage_s3_key)s, %(sha256)s, %(size_bytes)s,
        %(signature)s, %(thresholds)s, %(metadata)s, %(created_by)s)
RETURNING *;

-- name: insert_checked_version
-- Insert a version that was checked against reference rows in staging and return it.
INSERT INTO siramodel_registry
    (product, name, version, storage_s3_key, sha256, size_bytes, signature, thresholds, metadata, reference, created_by)
VALUES (%(product)s, %(name)s, %(version)s, %(storage_s3_key)s, %(sha256)s, %(size_bytes)s,
        %(signature)s, %(thresholds)s, %(metadata)s, %(reference)s::jsonb, %(created_by)s)
RETURNING *;

-- name: get_version
-- The version with this model_id.
SELECT * FROM siramodel_registry WHERE model_id = %(model_id)s::uuid;

-- name: find_version
-- The version with this product, name and version.
SELECT * FROM siramodel_registry WHERE (product, name, version) = (%(product)s, %(name)s, %(version)s);

-- name: list_versions
-- A page of versions, newest first, starting after the cursor (before, after_id).
SELECT * FROM siramodel_registry
WHERE (%(product)s::text IS NULL OR product = %(product)s::text)
  AND (%(status)s::text IS NULL OR status = %(status)s::text)
  AND (%(before)s::timestamptz IS NULL
       OR (created_at <= %(before)s::timestamptz
           AND (created_at < %(before)s::timestamptz OR model_id > %(after_id)s::uuid)))
ORDER BY created_at DESC, model_id
LIMIT %(limit)s::int;

-- name: count_versions
-- How many versions the list holds in all.
SELECT count(*) AS total FROM siramodel_registry
WHERE (%(product)s::text IS NULL OR product = %(product)s::text)
  AND (%(status)s::text IS NULL OR status = %(status)s::text);

-- name: production_of
-- A product's production version; a unique index allows at most one.
SELECT * FROM siramodel_registry WHERE product = %(product)s::text AND status = 'production';

-- name: serving_versions
-- Every version that a worker must load. Reads sira_canary_config, a table of canary.
SELECT * FROM siramodel_registry
WHERE status = 'production'
   OR model_id IN (SELECT canary_model_id FROM sira_canary_config WHERE status IN ('running', 'paused'))
ORDER BY product, created_at, model_id;

-- name: rollout_using
-- A live rollout that uses this version. Reads sira_canary_config, a table of canary.
SELECT rollout_id::text, status FROM sira_canary_config
WHERE status IN ('running', 'paused')
  AND %(model_id)s::uuid IN (canary_model_id, production_model_id);

-- name: set_status
-- Change a version's status; sira_registry_guard() checks the change.
UPDATE siramodel_registry SET status = %(status)s::text WHERE model_id = %(model_id)s::uuid RETURNING *;

-- name: lock_writes
-- The one lock for every change of the registry, of rollouts and of the audit log.
SELECT pg_advisory_xact_lock(hashtext('sira_audit'));

-- name: next_row
-- Sequence number and previous hash of the next audit row, and its JSON as Postgres normalises it.
SELECT coalesce(max(seq), 0) + 1 AS seq,
       coalesce((array_agg(sha256 ORDER BY seq DESC))[1], repeat('0', 64)) AS previous,
       clock_timestamp() AS at, %(before)s::jsonb AS before, %(after)s::jsonb AS after
FROM (SELECT seq, sha256 FROM sira_audit_log ORDER BY seq DESC LIMIT 1) AS head;

-- name: append
-- Append an audit row; its hash is computed by audit.py.
INSERT INTO sira_audit_log (seq, at, actor, action, subject, before, after, reason, previous, sha256)
VALUES (%(seq)s, %(at)s, %(actor)s, %(action)s, %(subject)s, %(before)s, %(after)s, %(reason)s,
        %(previous)s, %(sha256)s);

-- name: all_rows
-- The whole chain in order, read through a server-side cursor.
SELECT seq, at, actor, action, subject, before, after, reason, previous, sha256 FROM sira_audit_log ORDER BY seq;

-- name: history
-- The latest audit rows, of one subject or of all.
SELECT seq, at, actor, action, subject, before, after, reason, previous, sha256 FROM sira_audit_log
WHERE (%(subject)s::text IS NULL OR subject = %(subject)s::text)
ORDER BY seq DESC LIMIT %(limit)s::int;

-- name: importance_exists
-- Tells if migration 003 has run.
SELECT to_regclass('sira_model_importance') IS NOT NULL;

-- name: importance
-- The importance of a version's fields. Reads sira_model_importance, a table of scoring/reasons.
SELECT events, rows, method, scale, background_sha256, computed_at, fields FROM sira_model_importance
WHERE model_id = %(model_id)s::uuid;
