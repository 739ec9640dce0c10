-- Statements of scoring/reasons/store.py.

-- name: reasons_exist
-- Tells if migration 003 has run.
SELECT to_regclass('sira_prediction_reasons') IS NOT NULL

-- name: find_background
-- The frozen background of a version.
SELECT b.sha256, m.source, b.payloads FROM sira_model_backgrounds m JOIN sira_reasons_backgrounds b USING (sha256)
WHERE m.model_id = %(model_id)s::uuid

-- name: insert_background
-- Keep a background, unless another version has the same one.
INSERT INTO sira_reasons_backgrounds (sha256, rows, payloads) VALUES (%(sha256)s, %(rows)s, %(payloads)s)
ON CONFLICT (sha256) DO NOTHING

-- name: freeze_background
-- Make a background that of a version; the first one stays.
INSERT INTO sira_model_backgrounds (model_id, sha256, source) VALUES (%(model_id)s::uuid, %(sha256)s, %(source)s)
ON CONFLICT (model_id) DO NOTHING

-- name: allowed_payloads
-- Payloads that production allowed within a week. Ids are hashes, so that the lowest are a random sample.
SELECT payload::text FROM sira_predictions
WHERE day >= (now() AT TIME ZONE 'UTC')::date - 7 AND product = %(product)s AND variant = 'production'
  AND decision = 'allow' AND outcome = 'ok'
ORDER BY prediction_id LIMIT %(limit)s

-- name: make_reasons_partitions
-- Create the partitions of reasons for yesterday, today and the coming days.
SELECT sira_make_reasons_partitions((now() AT TIME ZONE 'UTC')::date - 1,
                                    (now() AT TIME ZONE 'UTC')::date + %(days)s::int)

-- name: drop_reasons_partitions
-- Drop the days of reasons that are older than the retention.
SELECT sira_drop_reasons_partitions((now() AT TIME ZONE 'UTC')::date - %(days)s::int)

-- name: lock_importance
-- Let one controller compute importance, until its connection closes.
SELECT pg_try_advisory_lock(hashtext('sira_importance'))

-- name: importance_due
-- Versions whose importance is not known, and of those that serve or wait also versions whose traffic is a day old, or
-- an hour if there were few events.
SELECT model_id::text FROM siramodel_registry r
WHERE status <> 'archived' AND model_id <> ALL (%(skip)s::uuid[])
  AND (NOT EXISTS (SELECT FROM sira_model_importance i WHERE i.model_id = r.model_id AND events = 'background')
       OR status IN ('staging', 'canary', 'production')
          AND NOT EXISTS (SELECT FROM sira_model_importance i
                          WHERE i.model_id = r.model_id AND events = 'traffic'
                            AND computed_at > clock_timestamp()
                                - CASE WHEN rows < %(few)s THEN interval '1 hour' ELSE interval '1 day' END))
ORDER BY status = 'production' DESC, created_at DESC LIMIT 5

-- name: traffic_payloads
-- Payloads that any version of a product scored within a week. Ids are hashes, so that the lowest are a random sample.
SELECT payload::text FROM sira_predictions
WHERE day >= (now() AT TIME ZONE 'UTC')::date - 7 AND product = %(product)s AND score IS NOT NULL
ORDER BY prediction_id LIMIT %(limit)s

-- name: store_importance
-- Store the importance of a version's fields, in place of the one before.
INSERT INTO sira_model_importance (model_id, events, rows, background_sha256, method, scale, fields)
VALUES (%(model_id)s::uuid, %(events)s, %(rows)s, %(background_sha256)s, %(method)s, %(scale)s, %(fields)s)
ON CONFLICT (model_id, events) DO UPDATE SET
    rows = excluded.rows, background_sha256 = excluded.background_sha256, method = excluded.method,
    scale = excluded.scale, fields = excluded.fields, computed_at = clock_timestamp()
