-- Rollouts, their phases and verdicts: one block per function of canary/rollout/store.py.

-- name: live_metrics
-- The custom metrics of every live rollout.
SELECT rollout_id::text, limits->'metrics' AS metrics FROM sira_canary_config
WHERE status IN ('running', 'paused') ORDER BY product;

-- name: lock_rollouts
-- Lock rollouts by id, in a fixed order so that two callers cannot deadlock.
SELECT * FROM sira_canary_config WHERE rollout_id = ANY(%(rollout_ids)s::uuid[]) ORDER BY rollout_id FOR UPDATE;

-- name: lock_live_rollout
-- Lock a product's live rollout.
SELECT * FROM sira_canary_config WHERE product = %(product)s AND status IN ('running', 'paused') FOR UPDATE;

-- name: latest_rollout
-- A product's live rollout, or its last one.
SELECT * FROM sira_canary_config WHERE product = %(product)s ORDER BY created_at DESC LIMIT 1;

-- name: find_rollout
-- The rollout with this id.
SELECT * FROM sira_canary_config WHERE rollout_id::text = %(rollout_id)s;

-- name: all_rollouts
-- The newest rollouts of one product or of all.
SELECT * FROM sira_canary_config
WHERE %(product)s::text IS NULL OR product = %(product)s::text
ORDER BY created_at DESC LIMIT %(limit)s;

-- name: product_exists
-- Return whether a product has a registered version.
SELECT EXISTS (SELECT FROM siramodel_registry WHERE product = %(product)s);

-- name: insert_rollout
-- Insert a rollout at the phase, times and status that the table defaults to.
INSERT INTO sira_canary_config
    (product, canary_model_id, production_model_id, canary_percent, mode, plan, limits, step, created_by)
VALUES (%(product)s, %(canary_model_id)s, %(production_model_id)s, %(canary_percent)s, %(mode)s, %(plan)s, %(limits)s,
        %(step)s, %(created_by)s)
RETURNING *;

-- name: insert_production_history
-- Start a rollout with what the current production version has answered in the last minutes.
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
-- Record the split of the current phase, with who began it.
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

-- name: set_dispersion
-- Set the dispersion of production's errors, and when it was estimated.
UPDATE sira_canary_config SET dispersion = %(dispersion)s, dispersion_at = clock_timestamp()
WHERE rollout_id = %(rollout_id)s::uuid;

-- name: seal
-- Store each rollout's judge state, and seal the evidence that it has absorbed.
UPDATE sira_canary_config SET sealed_through = to_timestamp(through), judge_state = state
FROM unnest(%(rollout_ids)s::uuid[], %(throughs)s::float8[], %(states)b::text[]) AS sealed (id, through, state)
WHERE rollout_id = id;

-- name: insert_rollback
-- Record a rollback with the measurements that asked for it.
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

-- name: backtests_exist
-- Return whether migration 008 has run.
SELECT to_regclass('sira_backtests') IS NOT NULL;

-- name: newest_backtest
-- The newest finished backtest of an artifact against a production version, over enough days and not older than them.
-- Reads sira_backtests, a table of backtest.
SELECT backtest_id::text, (report->>'block_ratio')::float8, (report #>> '{quality,0,recall_ratio}')::float8
FROM sira_backtests
WHERE status = 'done' AND model_id = %(model_id)s::uuid AND sha256 = %(sha256)s
  AND production_model_id = %(production_model_id)s::uuid AND (request->>'days')::int >= %(days)s
  AND ended_at > clock_timestamp() - make_interval(days => %(days)s)
ORDER BY ended_at DESC LIMIT 1;
