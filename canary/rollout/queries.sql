-- Rollouts, their phases and verdicts: one block per function of canary/rollout/store.py.

-- name: live_metrics
-- The custom metrics of every live rollout.
SELECT rollout_id::text, limits->'metrics' AS metrics FROM sira_canary_config
WHERE status IN ('running', 'paused') ORDER BY product;

-- name: lock_rollouts
-- Lock rollouts by id, in a fixed order.
SELECT * FROM sira_canary_config WHERE rollout_id = ANY(%(rollout_ids)s::uuid[]) ORDER BY rollout_id FOR UPDATE;

-- name: lock_live_rollout
-- Lock a product's live rollout.
SELECT * FROM sira_canary_config WHERE product = %(product)s AND status IN ('running', 'paused') FOR UPDATE;

-- name: latest_rollout
-- A product's latest rollout.
SELECT * FROM sira_canary_config WHERE product = %(product)s ORDER BY created_at DESC LIMIT 1;

-- name: all_rollouts
-- The latest rollouts, of one product or of all.
SELECT * FROM sira_canary_config
WHERE %(product)s::text IS NULL OR product = %(product)s::text
ORDER BY created_at DESC LIMIT %(limit)s;

-- name: product_exists
-- True if a product has a registered version. Reads siramodel_registry, a table of registry.
SELECT EXISTS (SELECT FROM siramodel_registry WHERE product = %(product)s);

-- name: insert_rollout
-- Insert a rollout.
INSERT INTO sira_canary_config
    (product, canary_model_id, production_model_id, canary_percent, mode, plan, limits, step, created_by)
VALUES (%(product)s, %(canary_model_id)s, %(production_model_id)s, %(canary_percent)s, %(mode)s, %(plan)s, %(limits)s,
        %(step)s, %(created_by)s)
RETURNING *;

-- name: insert_production_before
-- What production answered before, as far as this version of it did.
INSERT INTO sira_canary_evidence (rollout_id, phase, arm, bucket_start, requests, errors, latency)
SELECT rollout_id, -1, 'production', bucket_start, sum(requests), sum(errors), sira_histogram_sum(latency)
FROM sira_canary_config c
JOIN siramodel_registry production ON model_id = production_model_id
JOIN sira_production_errors e ON e.product = c.product
WHERE rollout_id = %(rollout_id)s::uuid
  AND bucket_start >= sealed_through - make_interval(secs => %(seconds)s::float8) AND bucket_start < sealed_through
  AND bucket_start >= production.updated_at
GROUP BY rollout_id, bucket_start;

-- name: begin_phase
-- Start another phase: a new split, or another production version.
UPDATE sira_canary_config
SET canary_percent = %(percent)s, step = %(step)s, phase = phase + 1,
    production_model_id = coalesce(%(production_model_id)s::uuid, production_model_id),
    step_started_at = clock_timestamp(), updated_at = clock_timestamp()
WHERE rollout_id = %(rollout_id)s::uuid RETURNING *;

-- name: record_phase
-- Record the split of the current phase.
INSERT INTO sira_canary_phases (rollout_id, phase, step, canary_percent, production_model_id, started_by)
SELECT rollout_id, phase, step, canary_percent, production_model_id, %(actor)s
FROM sira_canary_config WHERE rollout_id = %(rollout_id)s::uuid;

-- name: set_status
-- Set a rollout's status; one that ends gets no traffic.
UPDATE sira_canary_config
SET status = %(status)s::text, updated_at = clock_timestamp(),
    canary_percent = CASE WHEN %(status)s::text IN ('running', 'paused') THEN canary_percent ELSE 0 END,
    ended_at = CASE WHEN %(status)s::text IN ('running', 'paused') THEN NULL ELSE clock_timestamp() END
WHERE rollout_id = %(rollout_id)s::uuid RETURNING *;

-- name: insert_rollback
-- Record a rollback.
INSERT INTO sira_canary_rollback_log
    (product, canary_model_id, production_model_id, reason, rolled_back_by, rollout_id, measurements)
VALUES (%(product)s, %(canary_model_id)s, %(production_model_id)s, %(reason)s, %(rolled_back_by)s, %(rollout_id)s,
        %(measurements)s);

-- name: latest_verdict
-- A rollout's latest verdict.
SELECT * FROM sira_canary_verdicts WHERE rollout_id = %(rollout_id)s::uuid ORDER BY tick DESC LIMIT 1;

-- name: verdicts
-- All stored verdicts of a rollout.
SELECT * FROM sira_canary_verdicts WHERE rollout_id = %(rollout_id)s::uuid ORDER BY tick;

-- name: phases
-- The phases of a rollout.
SELECT phase, step, canary_percent, production_model_id::text, started_at, started_by
FROM sira_canary_phases WHERE rollout_id = %(rollout_id)s::uuid ORDER BY phase;
