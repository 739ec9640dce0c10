-- Statements of scoring/log/store.py.

-- name: stage
-- Staging tables for COPY; columns in the order of scoring/log/prediction.py.
CREATE TEMP TABLE IF NOT EXISTS staged_predictions (
    prediction_id uuid, created_at float8, product text, event_id text, routing_key text, payload json,
    payload_sha256 text, model_id uuid, model_version text, artifact_sha256 text, runtime_version text, score float8,
    decision text, review_threshold float8, block_threshold float8, variant text, arm text, rollout_id uuid, phase int,
    cached boolean, latency_seconds float8, model_seconds float8, outcome text, propensity float8) ON COMMIT DELETE ROWS;
CREATE TEMP TABLE IF NOT EXISTS staged_paired (
    prediction_id uuid, created_at float8, rollout_id uuid, phase int, product text, event_id text, amount float8,
    canary_score float8, canary_decision text, production_score float8, production_decision text)
    ON COMMIT DELETE ROWS;
CREATE TEMP TABLE IF NOT EXISTS staged_trips (
    rollout_id uuid, process text, tripped_at float8, requests bigint, errors bigint, production_failing boolean)
    ON COMMIT DELETE ROWS;
CREATE TEMP TABLE IF NOT EXISTS staged_reasons (
    prediction_id uuid, created_at float8, product text, model_id uuid, decision text, background_sha256 text,
    method text, scale text, base float8, reasons jsonb) ON COMMIT DELETE ROWS

-- name: lock_rollouts
-- A tick that seals evidence and this transaction wait for each other, so that no row enters a sealed bucket.
-- Advisory locks are granted in order; FOR SHARE of one shipper after another would starve a tick's FOR UPDATE.
SELECT pg_advisory_xact_lock_shared(hashtext('sira_evidence'), hashtext(rollout_id::text))
FROM (SELECT rollout_id FROM staged_predictions WHERE rollout_id IS NOT NULL
      UNION SELECT rollout_id FROM staged_paired ORDER BY 1) AS shipped

-- name: ship_predictions
-- Insert rows that the log does not have yet, and add only those to the hourly counts and the evidence. Where rows have
-- a propensity, scoring/log/store.py replaces the comments with the column and the next block.
WITH sent AS (
    SELECT DISTINCT ON (prediction_id) s.*, to_timestamp(created_at) AS at,
           (to_timestamp(created_at) AT TIME ZONE 'UTC')::date AS day
    FROM staged_predictions s
),
inserted AS (
    INSERT INTO sira_predictions (
        prediction_id, day, created_at, product, event_id, routing_key, payload, payload_sha256, model_id,
        model_version, artifact_sha256, runtime_version, score, decision, review_threshold, block_threshold,
        variant, arm, rollout_id, phase, cached, latency_seconds, model_seconds, outcome/*propensity*/)
    SELECT prediction_id, day, at, product, event_id, routing_key, payload, payload_sha256, model_id,
           model_version, artifact_sha256, runtime_version, score, decision, review_threshold, block_threshold,
           variant, arm, rollout_id, phase, cached, latency_seconds, model_seconds, outcome/*propensity*/
    FROM sent
    -- The key is unique within a day; this finds an event that was repeated across midnight.
    WHERE NOT EXISTS (SELECT FROM sira_predictions p
                      WHERE p.prediction_id = sent.prediction_id AND p.day IN (sent.day - 1, sent.day + 1))
    ON CONFLICT (prediction_id, day) DO NOTHING
    RETURNING prediction_id, created_at, product, model_id, score, coalesce(decision, 'none') AS decision, variant,
              arm, rollout_id, phase, cached, outcome/*propensity*/,
              sira_latency_bin(latency_seconds) AS latency_bin, sira_latency_bin(model_seconds) AS model_bin
),
hour_bins AS (
    SELECT date_trunc('hour', created_at, 'UTC') AS hour, product, model_id, variant, decision, outcome, latency_bin,
           count(*) AS n, count(*) FILTER (WHERE cached) AS cached
    FROM inserted GROUP BY 1, 2, 3, 4, 5, 6, 7
),
hours AS (
    INSERT INTO sira_prediction_hours AS h
        (hour, product, model_id, variant, decision, outcome, predictions, cached, latency)
    SELECT hour, product, model_id, variant, decision, outcome, sum(n), sum(cached), jsonb_object_agg(latency_bin, n)
    FROM hour_bins GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2, 3, 4, 5, 6
    ON CONFLICT (hour, product, model_id, variant, decision, outcome) DO UPDATE SET
        predictions = h.predictions + excluded.predictions, cached = h.cached + excluded.cached,
        latency = sira_histogram_add(h.latency, excluded.latency)
),
/*control_days*/
error_halves AS (
    INSERT INTO sira_production_errors AS e (product, bucket_start, half, requests, errors, latency)
    SELECT product, bucket_start, half, sum(n), sum(failed),
           coalesce(jsonb_object_agg(model_bin, n) FILTER (WHERE model_bin IS NOT NULL), '{}')
    FROM (SELECT product, date_bin('30 s', created_at, 'epoch') AS bucket_start,
                 get_bit(uuid_send(prediction_id), 0) AS half, model_bin, count(*) AS n,
                 count(*) FILTER (WHERE outcome <> 'ok') AS failed
          FROM inserted WHERE arm = 'production' GROUP BY 1, 2, 3, 4) AS bins
    GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
    ON CONFLICT (product, bucket_start, half) DO UPDATE SET
        requests = e.requests + excluded.requests, errors = e.errors + excluded.errors,
        latency = sira_histogram_add(e.latency, excluded.latency)
),
routed AS (
    -- A row from a clock that is ahead counts now; a late row counts in the next open bucket.
    SELECT i.*, greatest(date_bin('5 s', least(i.created_at, clock_timestamp()), 'epoch'), c.sealed_through) AS bucket_start
    FROM inserted i JOIN sira_canary_config c USING (rollout_id)
),
arm_counts AS (
    SELECT rollout_id, phase, arm, bucket_start, count(*) AS requests,
           count(*) FILTER (WHERE outcome <> 'ok') AS errors,
           count(*) FILTER (WHERE outcome IN ('canary_timeout', 'timeout')) AS timeouts,
           count(*) FILTER (WHERE decision = 'allow' AND variant = arm) AS allowed,
           count(*) FILTER (WHERE decision = 'review' AND variant = arm) AS reviewed,
           count(*) FILTER (WHERE decision = 'block' AND variant = arm) AS blocked
    FROM routed GROUP BY 1, 2, 3, 4
),
arm_latency AS (
    SELECT rollout_id, phase, arm, bucket_start, jsonb_object_agg(model_bin, n) AS latency FROM (
        SELECT rollout_id, phase, arm, bucket_start, model_bin, count(*) AS n
        FROM routed WHERE model_bin IS NOT NULL AND variant = arm GROUP BY 1, 2, 3, 4, 5) AS bins
    GROUP BY 1, 2, 3, 4
),
arm_scores AS (
    SELECT rollout_id, phase, arm, bucket_start, jsonb_object_agg(score_bin, n) AS scores FROM (
        SELECT rollout_id, phase, arm, bucket_start, least(floor(score * 20)::int, 19) AS score_bin, count(*) AS n
        FROM routed WHERE score IS NOT NULL AND variant = arm GROUP BY 1, 2, 3, 4, 5) AS bins
    GROUP BY 1, 2, 3, 4
),
evidence AS (
    INSERT INTO sira_canary_evidence AS e
        (rollout_id, phase, arm, bucket_start, requests, errors, timeouts, allowed, reviewed, blocked, latency, scores)
    SELECT rollout_id, phase, arm, bucket_start, requests, errors, timeouts, allowed, reviewed, blocked,
           coalesce(latency, '{}'), coalesce(scores, '{}')
    FROM arm_counts
    LEFT JOIN arm_latency USING (rollout_id, phase, arm, bucket_start)
    LEFT JOIN arm_scores USING (rollout_id, phase, arm, bucket_start)
    ORDER BY 1, 4, 2, 3
    ON CONFLICT (rollout_id, bucket_start, phase, arm) DO UPDATE SET
        requests = e.requests + excluded.requests, errors = e.errors + excluded.errors,
        timeouts = e.timeouts + excluded.timeouts, allowed = e.allowed + excluded.allowed,
        reviewed = e.reviewed + excluded.reviewed, blocked = e.blocked + excluded.blocked,
        latency = sira_histogram_add(e.latency, excluded.latency),
        scores = sira_histogram_add(e.scores, excluded.scores)
)
SELECT product, extract(epoch FROM date_trunc('hour', created_at, 'UTC'))::bigint, count(*) FROM inserted GROUP BY 1, 2

-- name: control_days
-- Part of ship_predictions: count the events that the models wanted to block while a control group was on.
control_days AS (
    INSERT INTO sira_control_days AS d (product, day, would_block, eligible, let_through)
    SELECT product, (created_at AT TIME ZONE 'UTC')::date, count(*), count(*) FILTER (WHERE propensity > 0),
           count(*) FILTER (WHERE decision <> 'block')
    FROM inserted WHERE propensity IS NOT NULL GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (product, day) DO UPDATE SET would_block = d.would_block + excluded.would_block,
        eligible = d.eligible + excluded.eligible, let_through = d.let_through + excluded.let_through
),

-- name: propensity_exists
-- Return whether migration 012 has run.
SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('public.sira_predictions')
               AND attname = 'propensity' AND NOT attisdropped)

-- name: ship_paired
-- Insert paired scores that the log does not have yet, and add only those to the paired evidence.
WITH sent AS (
    SELECT DISTINCT ON (prediction_id, rollout_id) s.*, to_timestamp(created_at) AS at,
           (to_timestamp(created_at) AT TIME ZONE 'UTC')::date AS day
    FROM staged_paired s
),
inserted AS (
    INSERT INTO sira_paired_predictions (
        prediction_id, day, created_at, rollout_id, phase, product, event_id, amount, canary_score, canary_decision,
        production_score, production_decision)
    SELECT prediction_id, day, at, rollout_id, phase, product, event_id, amount, canary_score, canary_decision,
           production_score, production_decision
    FROM sent
    WHERE NOT EXISTS (SELECT FROM sira_paired_predictions p
                      WHERE p.prediction_id = sent.prediction_id AND p.rollout_id = sent.rollout_id
                        AND p.day IN (sent.day - 1, sent.day + 1))
    ON CONFLICT (prediction_id, rollout_id, day) DO NOTHING
    RETURNING rollout_id, phase, created_at, canary_decision, production_decision
),
evidence AS (
    INSERT INTO sira_canary_paired_evidence AS e (rollout_id, phase, bucket_start, n11, n10, n01, n00, decision_flips)
    SELECT i.rollout_id, i.phase,
           greatest(date_bin('5 s', least(i.created_at, clock_timestamp()), 'epoch'), c.sealed_through) AS bucket_start,
           count(*) FILTER (WHERE canary_decision = 'block' AND production_decision = 'block'),
           count(*) FILTER (WHERE canary_decision = 'block' AND production_decision <> 'block'),
           count(*) FILTER (WHERE canary_decision <> 'block' AND production_decision = 'block'),
           count(*) FILTER (WHERE canary_decision <> 'block' AND production_decision <> 'block'),
           count(*) FILTER (WHERE canary_decision <> production_decision)
    FROM inserted i JOIN sira_canary_config c USING (rollout_id)
    GROUP BY 1, 2, 3 ORDER BY 1, 3, 2
    ON CONFLICT (rollout_id, bucket_start, phase) DO UPDATE SET
        n11 = e.n11 + excluded.n11, n10 = e.n10 + excluded.n10, n01 = e.n01 + excluded.n01, n00 = e.n00 + excluded.n00,
        decision_flips = e.decision_flips + excluded.decision_flips
)
SELECT count(*) FROM inserted

-- name: ship_fuse_trips
-- Insert the fuses that opened; repeated rows are ignored.
INSERT INTO sira_canary_fuse_trips (rollout_id, process, tripped_at, requests, errors, production_failing)
SELECT rollout_id, process, to_timestamp(tripped_at), requests, errors, production_failing FROM staged_trips
ON CONFLICT DO NOTHING

-- name: ship_reasons
-- Insert reasons that are not stored yet; those of a repeated event are the same.
INSERT INTO sira_prediction_reasons
    (prediction_id, day, created_at, product, model_id, decision, background_sha256, method, scale, base, reasons)
SELECT prediction_id, (to_timestamp(created_at) AT TIME ZONE 'UTC')::date, to_timestamp(created_at), product, model_id,
       decision, background_sha256, method, scale, base, reasons
FROM staged_reasons
ON CONFLICT DO NOTHING

-- name: find_prediction
-- The oldest row of a prediction id. Before migration 012 it has no propensity.
SELECT prediction_id::text, created_at, product, event_id, routing_key, payload::text AS payload, payload_sha256,
       model_id::text, model_version, artifact_sha256, runtime_version, score, decision, review_threshold,
       block_threshold, variant, arm, rollout_id::text, phase, cached, latency_seconds, model_seconds, outcome,
       (to_jsonb(p) ->> 'propensity')::float8 AS propensity
FROM sira_predictions p WHERE prediction_id = %(prediction_id)s
ORDER BY created_at LIMIT 1

-- name: shipped_hours_exist
-- True from migration 007 on.
SELECT to_regclass('public.sira_shipped_hours') IS NOT NULL

-- name: report_shipped
-- Store what one spool has shipped; a count never becomes smaller.
INSERT INTO sira_shipped_hours AS reported (spool, product, hour, rows)
SELECT %(spool)s, product, to_timestamp(hour), rows
FROM unnest(%(products)s::text[], %(hours)s::bigint[], %(rows)s::bigint[]) AS counted (product, hour, rows)
ORDER BY hour, product
ON CONFLICT (hour, product, spool) DO UPDATE SET
    rows = greatest(reported.rows, excluded.rows), reported_at = clock_timestamp()
